#pragma once

#include <functional>
#include <optional>

#include "model/tensor/device.h"
#include "parallel/mpi_session.h"

namespace skein {

/// The rank's number on its node as the launcher gives it in the environment (Open MPI, MPICH, SLURM); none
/// where it gives none. `variable`: getenv, or a test's own.
std::optional<int> local_rank_of_launcher(const std::function<const char*(const char*)>& variable);

/// One GPU a rank, as long as there are enough: the rank's number on its node, modulo the number of GPUs that
/// this process may use. `gpus` > 0.
Gpu gpu_of_rank(const MpiSession& session, int gpus);

}  // namespace skein
