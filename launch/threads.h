#pragma once

namespace skein {

class Ranks;

/// Collective: how many processors this rank can count as its own: those that it is bound to, shared evenly
/// with the ranks of its node that may run on some of the same (ranks that no launcher bound).
int own_processors(Ranks& ranks);

/// Threads of this rank's kernels: `asked` where it is not 0, else `own` processors. More threads than the
/// process may run on is said in a line, by rank 0.
int threads_of_a_rank(int asked, int own, const Ranks& ranks);

}  // namespace skein
