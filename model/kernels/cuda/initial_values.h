#pragma once

#include <cstdint>

#include "model/base/philox.h"
#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

enum class InitialKind { kConstant, kNormal, kUniform };

/// values[i]: element first + i, in global row-major order, of a parameter that starts with this key: `scale`
/// for kConstant, scale · a standard normal, or uniform in ±scale (model/base/normal.h). T rounds the fp32
/// value once more.
template <class T>
void fill_initial_values(CudaStream& stream, InitialKind kind, double scale, PhiloxKey key,
                         std::int64_t first, std::int64_t count, T* values);

}  // namespace skein::kernels::cuda
