#include "launch/threads.h"

#include <sched.h>

#include <algorithm>
#include <iostream>
#include <string>

#include "launch/ranks.h"
#include "model/base/error.h"
#include "model/base/parallel_for.h"

namespace skein {
namespace {

// One character for each processor: '1' where this process may run.
std::string processor_mask() {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::string mask(CPU_SETSIZE, '0');
    if (sched_getaffinity(0, sizeof set, &set) != 0) return mask;
    for (int i = 0; i < CPU_SETSIZE; ++i)
        if (CPU_ISSET(i, &set)) mask[static_cast<std::size_t>(i)] = '1';
    return mask;
}

bool overlap(const std::string& a, const std::string& b) {
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (a[i] == '1' && b[i] == '1') return true;
    return false;
}

}  // namespace

int own_processors(Ranks& ranks) {
    const std::string host = ranks.session().host() + "\n", mask = processor_mask();
    int sharing = 0;  // this rank included
    for (const std::string& other : ranks.world().all_gather_text(host + mask))
        sharing += other.starts_with(host) && overlap(mask, other.substr(host.size()));
    return std::max(1, bound_processors() / std::max(1, sharing));
}

int threads_of_a_rank(int asked, int own, const Ranks& ranks) {
    const int bound = bound_processors();
    if (asked > bound && ranks.is_first())
        std::cerr
            << "--parallel.threads: " << asked << " threads on the " << bound
            << " processors that a rank is bound to; with mpirun, try --bind-to none or --map-by slot:PE="
            << asked << std::endl;
    return asked > 0 ? asked : own;
}

}  // namespace skein
