#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "model/kernels/cpu/simd.h"
#include "model/kernels/dropout.h"

/// Dropout masks many at a time: the same numbers as `keeps`, to the bit, on any instruction set.
namespace skein::kernels::simd {

inline constexpr std::int64_t kMaskRun = 64;  ///< channels per call of mask_run: eight Philox blocks

#if defined(__AVX2__)

/// philox({first + i, position, sample, plane}, key) for i in 0 ... 3, one block in each 128 bits, in the
/// order 0 2 | 1 3.
inline void philox4(std::uint32_t first, std::uint32_t position, std::uint32_t sample, std::uint32_t plane,
                    PhiloxKey key, __m256i& even, __m256i& odd) {
    // a word in the low half of each 64-bit lane; the high half is left to what falls there, products do not
    // read it
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53u), m1 = _mm256_set1_epi64x(0xCD9E8D57u);
    __m256i c0 = _mm256_setr_epi64x(first, first + 1, first + 2, first + 3);
    __m256i c1 = _mm256_set1_epi64x(position), c2 = _mm256_set1_epi64x(sample),
            c3 = _mm256_set1_epi64x(plane);
    for (int round = 0; round < 10; ++round) {
        const __m256i p0 = _mm256_mul_epu32(c0, m0), p1 = _mm256_mul_epu32(c2, m1);
        const __m256i k0 = _mm256_set1_epi64x(key.k0), k1 = _mm256_set1_epi64x(key.k1);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1), k0);
        c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3), k1);
        c1 = p1;
        c3 = p0;
        key.k0 += 0x9E3779B9u;
        key.k1 += 0xBB67AE85u;
    }
    const __m256i low = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xAA);
    const __m256i high = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xAA);
    even = _mm256_unpacklo_epi64(low, high);
    odd = _mm256_unpackhi_epi64(low, high);
}

/// Channels 8 · block ... 8 · block + 63: out[i] is 0 where dropped and dropout.scale where kept.
inline void mask_run(const Dropout& dropout, std::uint32_t sample, std::uint32_t position,
                     std::uint32_t plane, std::uint32_t block, float* out) {
    const __m256i below = _mm256_set1_epi32(static_cast<int>(dropout.threshold) - 1);
    const __m256 scale = _mm256_set1_ps(dropout.scale);
    const auto put = [&](__m128i halves, float* to) {
        const __m256i kept = _mm256_cmpgt_epi32(_mm256_cvtepu16_epi32(halves), below);
        _mm256_storeu_ps(to, _mm256_and_ps(_mm256_castsi256_ps(kept), scale));
    };
    for (std::uint32_t half = 0; half < 2; ++half, out += 32) {
        __m256i even, odd;
        philox4(block + 4 * half, position, sample, plane, dropout.key, even, odd);
        put(_mm256_castsi256_si128(even), out);
        put(_mm256_castsi256_si128(odd), out + 8);
        put(_mm256_extracti128_si256(even, 1), out + 16);
        put(_mm256_extracti128_si256(odd, 1), out + 24);
    }
}

#else

inline void mask_run(const Dropout& dropout, std::uint32_t sample, std::uint32_t position,
                     std::uint32_t plane, std::uint32_t block, float* out) {
    for (std::uint32_t b = 0; b < 8; ++b, out += 8) {
        const PhiloxBlock words = philox({block + b, position, sample, plane}, dropout.key);
        for (std::uint32_t i = 0; i < 8; ++i) {
            const std::uint32_t half = i % 2 == 0 ? words[i / 2] & 0xFFFFu : words[i / 2] >> 16;
            out[i] = half >= dropout.threshold ? dropout.scale : 0.0f;
        }
    }
}

#endif

/// The factors of the channels first_channel ... first_channel + count - 1 of one (sample, position, plane):
/// 0 where dropped, dropout.scale where kept. Nothing is written past out[count - 1]. Fastest when
/// first_channel is a multiple of 8 and count one of 64.
inline void keep_mask(const Dropout& dropout, std::uint32_t sample, std::uint32_t position,
                      std::uint32_t plane, std::uint32_t first_channel, std::int64_t count, float* out) {
    std::uint32_t block = first_channel / 8;
    std::int64_t skip = first_channel % 8;  // channels of the run before the first one wanted
    while (count > 0) {
        if (skip == 0 && count >= kMaskRun) {
            mask_run(dropout, sample, position, plane, block, out);
            out += kMaskRun, count -= kMaskRun;
        } else {
            float run[kMaskRun];
            mask_run(dropout, sample, position, plane, block, run);
            const std::int64_t taken = std::min(count, kMaskRun - skip);
            std::memcpy(out, run + skip, static_cast<std::size_t>(taken) * sizeof(float));
            out += taken, count -= taken, skip = 0;
        }
        block += kMaskRun / 8;
    }
}

}  // namespace skein::kernels::simd
