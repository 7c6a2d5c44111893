#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/tensor/stream.h"

namespace skein {

/// What the bits of a run lean on besides its configuration, data and seed: "cpu", "compiler",
/// "architecture", and on a GPU its name and CUDA's versions. In the manifest; resuming elsewhere says which
/// of them differ. Throws CudaError.
std::vector<std::pair<std::string, std::string>> bits_lean_on(Stream& stream);

/// What computes, as it calls itself. Throws CudaError.
std::string device_name(Stream& stream);

}  // namespace skein
