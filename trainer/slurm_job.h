#pragma once

#include <optional>

namespace skein {

/// How long the SLURM job that this process is in may still run: from SLURM_JOB_END_TIME where SLURM sets it,
/// else what `squeue` says, which is given `patience` seconds to answer. Nothing outside a job, where a job
/// has no end, and where neither tells.
std::optional<double> seconds_left_of_slurm_job(double patience = 5.0);

}  // namespace skein
