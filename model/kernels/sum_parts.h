#pragma once

#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// y[i] = x_0[i] + x_1[i] + ... + x_{parts - 1}[i], in that order, in fp32, rounded once to y's dtype. x_p is
/// others + p · stride, but for x_own, which lies apart and may be y. All of [count], of one dtype.
struct SumPartsArgs {
    std::int64_t count = 0, stride = 0;  ///< elements
    int parts = 1, own = 0;
    ConstOperand others{}, own_part{};
    Operand y{};
};
void sum_parts(CpuStream& stream, const SumPartsArgs& args);
void sum_parts(CudaStream& stream, const SumPartsArgs& args);

}  // namespace skein::kernels
