#pragma once

#include <cstdint>
#include <string>

#include "trainer/trainer.h"

namespace skein {

/// What `skein replay` asks for.
struct ReplayRequest {
    std::string run;  ///< its folder: only read
    std::string
        from;  ///< a checkpoint's folder, or the step that one is wanted at or before; empty: see below
    std::int64_t steps = 0;  ///< how many; 0: kReplaySteps, or as many as the run logged if that is less
    /// The data, where the ranks stand, and the options that are free to change on resume; the rest is set by
    /// replay.
    TrainRequest train;
};
inline constexpr std::int64_t kReplaySteps = 100;

struct ReplayResult {
    TrainEnd end = TrainEnd::kFinished;
    std::int64_t first = 0;  ///< the checkpoint's step
    std::int64_t steps = 0;  ///< replayed
    /// What rank 0 compared; on the others 0. compared: steps among them of which the run logged something;
    /// hashes: of all parameters, equal, the checkpoint's own included.
    std::int64_t compared = 0, hashes = 0;
};

/// Trains again from a checkpoint of a run, unless one is given from the newest that has as many logged steps
/// behind it, else the oldest; and compares every step with what the run logged: loss, gradient norm and
/// learning rate, and the hashes of the parameters, the checkpoint's own included. On another number of
/// tensor-parallel ranks than the run had, with another parallel.sequence or parallel.reduction, or with the
/// fast reduction on another number of ranks: losses alone, to 1e-4 of their size. It goes by the options
/// and the data with which the run went on from the checkpoint, and ends before a step that was made after
/// the run was started again with others, which is said in a line. Writes nothing.
///
/// Collective. Throws, by way of `together`, DataError that names the first step and what differs there, with
/// the first tensor in the order of the model where the run hashed them at that step; MissingError where
/// there is nothing to replay; ConfigError for other data than the run had; and what Trainer does.
ReplayResult replay(ReplayRequest request, Communicator& world, const Together& together,
                    TrainObserver observer, const StopSignal& stop);

}  // namespace skein
