#include "model/base/error.h"

#include <cerrno>
#include <cstring>

namespace skein {

void throw_errno(const std::string& operation, const std::string& path) {
    const int code = errno;
    throw IoError(text(operation, " ", path, ": ", std::strerror(code)));
}

}  // namespace skein
