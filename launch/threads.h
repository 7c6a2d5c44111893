#pragma once

namespace skein {

class Ranks;

/// Threads that a rank's kernels use: `asked` where it is not 0, else the processors it is bound to, which ranks of one
/// node that are not bound share evenly. More threads than processors is said in a line, once.
int threads_of_a_rank(int asked, Ranks& ranks);

}  // namespace skein
