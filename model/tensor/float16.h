#pragma once

#include <bit>
#include <cstdint>

#include "model/tensor/dtype.h"

namespace skein {

/// The 16 bits of a bfloat16: the upper half of an fp32. Storage only: arithmetic is done in fp32.
struct Bf16 {
    std::uint16_t bits;
    friend constexpr bool operator==(Bf16, Bf16) = default;
};

/// The 16 bits of an IEEE binary16: 5 bits of exponent, 10 of fraction, subnormal down to 2^-24, at most
/// 65504.
struct F16 {
    std::uint16_t bits;
    friend constexpr bool operator==(F16, F16) = default;
};

/// Rounded to nearest, ties to even; above the largest finite value infinity. NaN becomes 0x7FFF, which is
/// what CUDA's conversions give. Constant expressions, so that a kernel may call them too.
constexpr Bf16 to_bf16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FFF};
    return {static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

constexpr F16 to_f16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return {0x7FFF};
    if (magnitude >= 0x477FF000u) return {static_cast<std::uint16_t>(sign | 0x7C00u)};  // 65520 and above
    if (magnitude <
        0x38800000u) {  // below 2^-14: added to 1/2, whose last place is 2^-24, it is rounded as wanted
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u))};
    }
    const std::uint32_t rounded = magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u);
    return {static_cast<std::uint16_t>(sign | rounded >> 13)};
}

/// Exact; NaN stays NaN.
constexpr float to_float(float x) {
    return x;
}
constexpr float to_float(Bf16 x) {
    return std::bit_cast<float>(std::uint32_t{x.bits} << 16);
}
constexpr float to_float(F16 x) {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7FFFu;
    if (magnitude >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    if (magnitude < 0x400u) {
        const float value = static_cast<float>(magnitude) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
}

template <class T>
constexpr T from_float(float x) = delete;
template <>
constexpr float from_float<float>(float x) {
    return x;
}
template <>
constexpr Bf16 from_float<Bf16>(float x) {
    return to_bf16(x);
}
template <>
constexpr F16 from_float<F16>(float x) {
    return to_f16(x);
}

template <>
struct DTypeOf<Bf16> {
    static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<F16> {
    static constexpr DType value = DType::f16;
};

}  // namespace skein
