#pragma once

#include <string>
#include <string_view>

namespace skein {

/// SHA-256 (FIPS 180-4) as 64 lower-case hexadecimal digits. For small things: tokenizer files.
std::string sha256_hex(std::string_view bytes);

}  // namespace skein
