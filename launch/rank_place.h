#pragma once

#include <optional>

#include "launch/ranks.h"
#include "parallel/process_grid.h"
#include "trainer/trainer.h"

namespace skein {

/// Gives a run what these ranks know: its place, threads and patience, and the ranks' names. Collective.
/// `ranks` and `grid`, which becomes the groups that the place refers to, must outlive the trainer.
void run_on(Ranks& ranks, std::optional<ProcessGrid>& grid, TrainRequest& request);

}  // namespace skein
