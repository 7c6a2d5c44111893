#pragma once

#include <string>

namespace skein {

/// What `skein --version` prints: a line for skein, the compiler and each library, as they are at run time
/// where the library tells.
std::string version_text();

}  // namespace skein
