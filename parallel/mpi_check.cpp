#include "parallel/mpi_check.h"

#include <mpi.h>

#include <string>

#include "model/base/error.h"

namespace skein {

void check_mpi(int code, const char* operation, int peer, std::source_location where) {
    if (code == MPI_SUCCESS) return;
    char words[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(code, words, &length);
    const std::string with = peer >= 0 ? text(" with rank ", peer) : std::string();
    throw MpiError(text(operation, with, ": ", words, " (", where.file_name(), ":", where.line(), ")"));
}

}  // namespace skein
