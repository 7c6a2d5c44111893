#pragma once

#include <cstdint>
#include <cstring>

#if defined(__FMA__) && defined(__AVX2__)
#include <immintrin.h>
#endif

/// Eight floats at a time, in GCC's vector extension. Every function works lane by lane with correctly
/// rounded operations, so a value does not depend on the lane it stands in, nor on the instruction set: the
/// same bits on any machine. Sums over lanes are a fixed tree.
namespace skein::kernels::simd {

using F8 = float __attribute__((vector_size(32)));
using I8 = std::int32_t __attribute__((vector_size(32)));
inline constexpr std::int64_t kWidth = 8;

inline F8 splat(float x) {
    return F8{x, x, x, x, x, x, x, x};
}
inline I8 splat(std::int32_t x) {
    return I8{x, x, x, x, x, x, x, x};
}

inline F8 load(const float* from) {
    F8 out;
    std::memcpy(&out, from, sizeof out);
    return out;
}
inline void store(float* to, F8 value) {
    std::memcpy(to, &value, sizeof value);
}

/// The first `count` < 8 lanes; the others are `fill`.
inline F8 load_partial(const float* from, std::int64_t count, float fill = 0.0f) {
    F8 out = splat(fill);
    for (std::int64_t i = 0; i < count; ++i) out[i] = from[i];
    return out;
}
inline void store_partial(float* to, F8 value, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = value[i];
}

/// Which lanes a step of a loop over any number of elements works on: all eight, or the first `count` of the
/// last step.
struct Full {};
struct Partial {
    std::int64_t count;
};
inline F8 load(const float* from, Full) {
    return load(from);
}
inline F8 load(const float* from, Partial lanes, float fill = 0.0f) {
    return load_partial(from, lanes.count, fill);
}
inline F8 load(const float* from, Full, float) {
    return load(from);
}
inline void store(float* to, F8 value, Full) {
    store(to, value);
}
inline void store(float* to, F8 value, Partial lanes) {
    store_partial(to, value, lanes.count);
}

/// Calls step(i, Full) for i = 0, 8, 16, ... and step(i, Partial) for what is left of `count`.
template <class Step>
inline void for_lanes(std::int64_t count, const Step& step) {
    std::int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth) step(i, Full{});
    if (i < count) step(i, Partial{count - i});
}

/// The first `count` lanes of x, and `fill` in the others.
inline F8 first_lanes(F8 x, std::int64_t count, float fill = 0.0f) {
    const I8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return lane < splat(static_cast<std::int32_t>(count)) ? x : splat(fill);
}

/// a · b + c, rounded once.
inline F8 fma(F8 a, F8 b, F8 c) {
#if defined(__FMA__) && defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#else
    F8 out;
    for (int i = 0; i < 8; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
#endif
}

inline F8 max(F8 a, F8 b) {
    return a > b ? a : b;
}
inline F8 min(F8 a, F8 b) {
    return a < b ? a : b;
}

/// ((0+4)+(2+6)) + ((1+5)+(3+7)), always.
inline float sum(F8 x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}
inline float max(F8 x) {
    float out = x[0];
    for (int i = 1; i < 8; ++i) out = x[i] > out ? x[i] : out;
    return out;
}

/// e^x to about one unit in the last place. +0 at and below -87.3 (minus infinity included); x above 88.3
/// counts as 88.3; NaN stays NaN.
inline F8 exp(F8 x) {
    const F8 lowest = splat(-87.33654f), highest = splat(88.3f);
    const F8 clamped = min(highest, max(lowest, x));  // in this order, which hands on NaN
    // n = round(x / ln 2) by adding and taking away 1.5 * 2^23; r = x - n ln 2 in two parts
    const F8 magic = splat(12582912.0f);
    const F8 shifted = fma(clamped, splat(1.44269504f), magic);
    const F8 n = shifted - magic;
    F8 r = fma(n, splat(-0.693359375f), clamped);
    r = fma(n, splat(2.12194440e-4f), r);
    F8 p = splat(1.9875691500e-4f);  // minimax polynomial of (e^r - 1 - r) / r^2 on [-ln2/2, ln2/2] (Cephes)
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p, r * r, r) + splat(1.0f);
    I8 bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const I8 exponent = (bits - splat(std::int32_t{0x4B400000}) + splat(std::int32_t{127})) << 23;
    F8 power;
    std::memcpy(&power, &exponent, sizeof power);
    return x <= lowest ? splat(0.0f) : p * power;
}

/// 1 / (1 + e^-x).
inline F8 sigmoid(F8 x) {
    return splat(1.0f) / (splat(1.0f) + exp(-x));
}

/// GELU in its tanh form, written as x · sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3), which is the same
/// function (Hendrycks and Gimpel, 2016).
inline F8 gelu(F8 x) {
    const F8 twice_u = x * fma(splat(2.0f * 0.7978845608f * 0.044715f), x * x, splat(2.0f * 0.7978845608f));
    return x * sigmoid(twice_u);
}

/// d gelu / dx.
inline F8 gelu_derivative(F8 x) {
    const F8 square = x * x;
    const F8 twice_u = x * fma(splat(2.0f * 0.7978845608f * 0.044715f), square, splat(2.0f * 0.7978845608f));
    const F8 twice_du =
        fma(splat(3.0f * 2.0f * 0.7978845608f * 0.044715f), square, splat(2.0f * 0.7978845608f));
    const F8 s = sigmoid(twice_u);
    return fma(x * s * (splat(1.0f) - s), twice_du, s);
}

}  // namespace skein::kernels::simd
