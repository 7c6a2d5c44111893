#pragma once

#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// Adam (Kingma and Ba, 2015) on one tensor, and AdamW (Loshchilov and Hutter, 2019) where decoupled_decay is
/// not zero:
///   g' = gradient_scale · g + coupled_decay · p
///   m = β1 m + (1 - β1) g';  v = β2 v + (1 - β2) g'^2
///   p = p - rate · decoupled_decay · p - rate · (m / correction1) / (sqrt(v / correction2) + ε)
/// with correction_i = 1 - β_i^updates. All of [count]. All arithmetic is fp32; where a 16-bit copy of the
/// parameter is given, it becomes the new value, rounded.
struct AdamArgs {
    std::int64_t count = 0;
    float* parameter = nullptr;
    Operand copy{};  ///< or null
    const float* gradient = nullptr;
    float* moment1 = nullptr;
    float* moment2 = nullptr;
    float rate = 0.0f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
    float correction1 = 1.0f, correction2 = 1.0f;
    float coupled_decay = 0.0f, decoupled_decay = 0.0f;
    float gradient_scale = 1.0f;  ///< the clip factor
};
void adam(CpuStream& stream, const AdamArgs& args);
void adam(CudaStream& stream, const AdamArgs& args);

}  // namespace skein::kernels
