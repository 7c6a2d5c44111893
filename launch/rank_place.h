#pragma once

#include <optional>

#include "launch/ranks.h"
#include "parallel/process_grid.h"
#include "trainer/trainer.h"

namespace skein {

/// Where a rank of a training run stands and computes, and how what it has travels. Collective; throws on all
/// ranks or on none. `grid` becomes the groups that the place refers to: it must outlive the trainer.
RankPlace place_of_a_rank(const RunConfig& config, Ranks& ranks, std::optional<ProcessGrid>& grid);

}  // namespace skein
