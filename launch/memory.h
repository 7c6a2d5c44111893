#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "model/tensor/device.h"
#include "parallel/mpi_session.h"

namespace skein {

/// "80G", "512M", "1.5T", "4096": K, M, G and T are powers of 1024. Throws ConfigError, naming the option.
std::size_t parse_size(const std::string& option, const std::string& value);

struct RankMemory {
    std::size_t bytes = 0;  ///< 0: not known
    std::string what;       ///< "a GPU of 2 ranks", "this machine's for 4 ranks"
};

/// What there is for this rank: of its GPU what is free, of the host's memory all that this process may have;
/// shared evenly with the ranks beside it.
RankMemory memory_of_a_rank(const std::optional<Gpu>& gpu, const MpiSession& session);

/// The memory that a process may have: the machine's, or what its control groups allow it if that is less. 0
/// where it cannot be told. `root`: the folder that /proc and /sys are in.
std::size_t host_memory(const std::string& root = "/");

}  // namespace skein
