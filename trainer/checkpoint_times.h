#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "model/tensor/communicator.h"
#include "trainer/bench.h"

namespace skein {

/// What it takes to save and load a model with its optimizer's state, and what the machine takes for the same
/// bytes by itself. Seconds: medians over the rounds of what the slowest rank took.
struct CheckpointTimes {
    std::size_t bytes = 0;    ///< of all ranks
    double held_up = 0.0;     ///< how long training stands still for a save in the background
    double durable = 0.0;     ///< from the same moment until that save is durable
    double waited_for = 0.0;  ///< a save that is not in the background
    double copy = 0.0;        ///< memcpy of as many bytes, just read, by the same threads at the same time
    double write = 0.0;       ///< of that copy in pieces of 8 MiB, fsync and close: dd bs=8M conv=fsync
    double load = 0.0;        ///< verified and read into the tensors
    double read = 0.0;        ///< the checkpoint's files in pieces of 8 MiB; like `load` from the page cache
};

/// Each is done once a round, by turns. Rank r writes its part of the checkpoint, and as many bytes for
/// `write`, below `folder`, which is made and in which nothing is left. On the CPU. Collective; throws
/// IoError and CheckpointError.
CheckpointTimes time_checkpoint(const BenchShape& shape, int threads, const std::string& folder, int rounds,
                                Communicator& world);

}  // namespace skein
