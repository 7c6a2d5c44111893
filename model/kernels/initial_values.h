#pragma once

#include <cstdint>

#include "model/base/philox.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

enum class InitialKind { kZeros, kOnes, kNormal, kUniform };

/// values[i]: element first + i, in global row-major order, of a parameter that starts with this key: 0, 1,
/// scale · a standard normal, or uniform in ±scale (model/base/normal.h), rounded from fp64. The same bits on
/// every device.
struct InitialValuesArgs {
    InitialKind kind = InitialKind::kZeros;
    double scale = 0.0;
    PhiloxKey key{};
    std::int64_t first = 0, count = 0;
    float* values = nullptr;
};
void fill_initial_values(CpuStream& stream, const InitialValuesArgs& args);
void fill_initial_values(CudaStream& stream, const InitialValuesArgs& args);

}  // namespace skein::kernels
