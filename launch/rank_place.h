#pragma once

#include <optional>

#include "launch/ranks.h"
#include "parallel/gradient_transport.h"
#include "parallel/process_grid.h"
#include "trainer/trainer.h"

namespace skein {

/// How what is on these ranks' GPUs gets to the others: null where it goes through the host. Says in one line
/// what is used in place of NCCL. Collective; throws on all ranks or on none. `ranks` must outlive it.
DeviceGroup device_group_of(const ParallelSection& parallel, const TransportFacts& facts, Ranks& ranks);

/// Gives a run what these ranks know: its place, threads and patience, and the ranks' names. Collective.
/// `ranks` and `grid`, which becomes the groups that the place refers to, must outlive the trainer.
void run_on(Ranks& ranks, std::optional<ProcessGrid>& grid, TrainRequest& request);

}  // namespace skein
