#include "launch/threads.h"

#include <algorithm>
#include <iostream>

#include "launch/ranks.h"
#include "model/base/parallel_for.h"

namespace skein {

int threads_of_a_rank(int asked, Ranks& ranks) {
    const MpiSession& session = ranks.session();
    const int bound = bound_processors();
    const int share = session.bound_by_launcher() ? bound : std::max(1, bound / session.local_size());
    if (asked > bound && ranks.is_first())
        std::cerr << "--parallel.threads: " << asked << " threads on the " << bound
                  << " processors that a rank is bound to; with mpirun, try --bind-to none or --map-by slot:PE=" << asked
                  << std::endl;
    return asked > 0 ? asked : share;
}

}  // namespace skein
