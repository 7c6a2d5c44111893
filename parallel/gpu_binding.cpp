#include "parallel/gpu_binding.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace skein {

std::optional<int> local_rank_of_launcher(const std::function<const char*(const char*)>& variable) {
    // A process that Open MPI starts within a job of SLURM's has both, and SLURM's is the launcher's own.
    for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) {
        const char* found = variable(name);
        if (!found) continue;
        const std::string_view digits = found;
        int rank = -1;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
        if (error == std::errc() && end == digits.data() + digits.size() && rank >= 0) return rank;
    }
    return std::nullopt;
}

Gpu gpu_of_rank(const MpiSession& session, int gpus) {
    const std::optional<int> given =
        local_rank_of_launcher([](const char* name) { return static_cast<const char*>(std::getenv(name)); });
    return {given.value_or(session.local_rank()) % gpus};
}

}  // namespace skein
