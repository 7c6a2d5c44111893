#pragma once

#include <variant>

#include "model/tensor/cpu_stream.h"
#include "model/tensor/cuda_stream.h"

namespace skein {

/// The devices of this build: the CPU and one GPU.
using DeviceStream = std::variant<CpuStream, CudaStream>;

}  // namespace skein
