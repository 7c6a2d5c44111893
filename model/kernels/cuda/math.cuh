#pragma once

#include <bit>
#include <cmath>

#include "model/kernels/cuda/portable.cuh"

/// The CPU kernels' own exponential and what is made of it (model/kernels/cpu/simd.h), operation by
/// operation, so that both devices give the same bits.
namespace skein::kernels::cuda {

/// e^x to about one unit in the last place; 0 at and below -87.3; NaN stays NaN.
__device__ inline float exp_of(float x) {
    const float lowest = -87.33654f, highest = 88.3f;
    const float raised = lowest > x ? lowest : x;
    const float clamped = highest < raised ? highest : raised;
    const float magic = 12582912.0f;
    const float shifted = fmaf(clamped, 1.44269504f, magic);
    const float n = shifted - magic;
    float r = fmaf(n, -0.693359375f, clamped);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) - 0x4B400000u + 127u) << 23;
    return p * std::bit_cast<float>(x <= lowest ? 0u : exponent);  // selected here, it needs no branch
}

__device__ inline float sigmoid_of(float x) {
    return 1.0f / (1.0f + exp_of(-x));
}

/// GELU in its tanh form, as x · sigmoid(2u).
__device__ inline float gelu_of(float x) {
    const float twice_u = x * fmaf(2.0f * 0.7978845608f * 0.044715f, x * x, 2.0f * 0.7978845608f);
    return x * sigmoid_of(twice_u);
}

__device__ inline float gelu_derivative_of(float x) {
    const float square = x * x;
    const float twice_u = x * fmaf(2.0f * 0.7978845608f * 0.044715f, square, 2.0f * 0.7978845608f);
    const float twice_du = fmaf(3.0f * 2.0f * 0.7978845608f * 0.044715f, square, 2.0f * 0.7978845608f);
    const float s = sigmoid_of(twice_u);
    return fmaf(x * s * (1.0f - s), twice_du, s);
}

}  // namespace skein::kernels::cuda
