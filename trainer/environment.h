#pragma once

#include <string>
#include <utility>
#include <vector>

namespace skein {

/// What the bits of a run lean on besides its configuration, data and seed: "cpu", "compiler",
/// "architecture". In the manifest; resuming elsewhere says which of them differ.
std::vector<std::pair<std::string, std::string>> bits_lean_on();

/// What computes, as it calls itself.
std::string device_name();

}  // namespace skein
