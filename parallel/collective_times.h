#pragma once

#include <cstddef>
#include <vector>

#include "model/tensor/communicator.h"

namespace skein {

/// What one collective took by our messages and by MPI's own function.
struct CollectiveTimes {
    const char* name;               ///< "all-reduce", "all-gather"
    std::size_t bytes = 0;          ///< of the result, on each rank
    double ours = 0.0, mpis = 0.0;  ///< seconds: the median over calls of what the slowest rank took
};

/// Times sums and gathers of 1 KiB to 16 MiB of floats over the session's ranks, by turns, each after a
/// barrier. `world` is of all the session's ranks. Collective; throws MpiError.
std::vector<CollectiveTimes> time_collectives(Communicator& world);

}  // namespace skein
