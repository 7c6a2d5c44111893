#pragma once

#include <source_location>

namespace skein {

/// Throws MpiError with the operation, the peer (none if negative) and MPI's own words unless `code` is
/// success.
void check_mpi(int code, const char* operation, int peer = -1,
               std::source_location where = std::source_location::current());

}  // namespace skein
