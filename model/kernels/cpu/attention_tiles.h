#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "model/kernels/cpu/simd.h"

/// The matrix products of one attention head, on blocks that lie packed in cache. A product's element is one
/// chain of fused multiply-adds in the order of the contracted index, so its bits depend on neither tile nor
/// block.
namespace skein::kernels::tiles {

inline constexpr std::int64_t kRows = 6,
                              kColumns = 16;  // 12 sums, 2 columns and 1 broadcast: 15 of AVX2's 16 registers

/// A width rounded up to whole tiles.
constexpr std::int64_t tiled(std::int64_t width) {
    return (width + kColumns - 1) / kColumns * kColumns;
}

/// Elements from one packed row of `width` to the next: padded to whole tiles, and an odd number of cache
/// lines, so that a column of tiles spreads over all sets of the cache.
constexpr std::int64_t padded(std::int64_t width) {
    return ((width + kColumns - 1) / kColumns | 1) * kColumns;
}

/// c[r][0...15] (+)= Σ_k a(r, k) · b[k · ldb + 0...15], k < depth, where a(r, k) is a[r · lda + k], or a[k ·
/// lda + r] if transposed.
template <int Rows, bool kTransposed>
inline void tile(const float* a, std::int64_t lda, const float* b, std::int64_t ldb, std::int64_t depth,
                 float* c, std::int64_t ldc, bool add) {
    simd::F8 sums[Rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
        sums[r][0] = add ? simd::load(c + r * ldc) : simd::splat(0.0f);
        sums[r][1] = add ? simd::load(c + r * ldc + 8) : simd::splat(0.0f);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
        const simd::F8 left = simd::load(b), right = simd::load(b + 8);
#pragma GCC unroll 6
        for (int r = 0; r < Rows; ++r) {
            const simd::F8 x = simd::splat(kTransposed ? a[r] : a[r * lda]);
            sums[r][0] = simd::fma(x, left, sums[r][0]);
            sums[r][1] = simd::fma(x, right, sums[r][1]);
        }
        a += kTransposed ? lda : 1;
        b += ldb;
    }
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
        simd::store(c + r * ldc, sums[r][0]);
        simd::store(c + r * ldc + 8, sums[r][1]);
    }
}

/// As tile, for any number of rows up to kRows.
template <bool kTransposed>
inline void tile_of(std::int64_t rows, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                    std::int64_t depth, float* c, std::int64_t ldc, bool add) {
    switch (rows) {
        case 6:
            return tile<6, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        case 5:
            return tile<5, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        case 4:
            return tile<4, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        case 3:
            return tile<3, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        case 2:
            return tile<2, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        case 1:
            return tile<1, kTransposed>(a, lda, b, ldb, depth, c, ldc, add);
        default:
            return;
    }
}

inline constexpr std::int64_t kAhead =
    6;  ///< rows that are fetched ahead: those of one head lie far apart in memory

/// Brings `width` elements on their way into the cache, to be written if kWrite.
template <bool kWrite = false>
inline void prefetch(const float* row, std::int64_t width) {
    for (std::int64_t c = 0; c < width; c += 16) __builtin_prefetch(row + c, kWrite ? 1 : 0);
}

/// to = scale · from.
inline void copy_row(const float* from, std::int64_t width, float scale, float* to) {
    const simd::F8 factor = simd::splat(scale);
    std::int64_t c = 0;
    for (; c + 8 <= width; c += 8) simd::store(to + c, factor * simd::load(from + c));
    for (; c < width; ++c) to[c] = scale * from[c];
}

/// Row `to` [tiled] = scale · R · `from` [width] and zeros after it, R turning the pairs of channels by the
/// angles whose cosines and sines are given, or the identity if they are null.
inline void pack_row(const float* from, std::int64_t width, float scale, const float* cosines,
                     const float* sines, float* to) {
    if (cosines) {
        for (std::int64_t c = 0; c < width / 2; ++c) {
            const float x = from[2 * c], y = from[2 * c + 1];
            to[2 * c] = scale * (x * cosines[c] - y * sines[c]);
            to[2 * c + 1] = scale * (x * sines[c] + y * cosines[c]);
        }
    } else {
        copy_row(from, width, scale, to);
    }
    for (std::int64_t c = width; c < tiled(width); ++c) to[c] = 0.0f;
}

/// The gradient's way back through pack_row: to = scale · Rᵀ · from.
inline void unpack_row(const float* from, std::int64_t width, float scale, const float* cosines,
                       const float* sines, float* to) {
    if (cosines) {
        for (std::int64_t c = 0; c < width / 2; ++c) {
            const float x = from[2 * c], y = from[2 * c + 1];
            to[2 * c] = scale * (x * cosines[c] + y * sines[c]);
            to[2 * c + 1] = scale * (y * cosines[c] - x * sines[c]);
        }
    } else {
        copy_row(from, width, scale, to);
    }
}

/// to[c · ldt + r] = from[r · ldf + c] for r, c < 8.
inline void transpose_8x8(const float* from, std::int64_t ldf, float* to, std::int64_t ldt) {
    using simd::F8;
    F8 in[8], pairs[8], fours[8];
    for (int r = 0; r < 8; ++r) in[r] = simd::load(from + r * ldf);
    for (int r = 0; r < 8; r += 2) {
        pairs[r] = __builtin_shufflevector(in[r], in[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[r + 1] = __builtin_shufflevector(in[r], in[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int r = 0; r < 8; r += 4) {
        for (int i = 0; i < 2; ++i) {
            const F8 x = pairs[r + i], y = pairs[r + i + 2];
            fours[r + 2 * i] = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
            fours[r + 2 * i + 1] = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
    for (int c = 0; c < 4; ++c) {
        simd::store(to + c * ldt, __builtin_shufflevector(fours[c], fours[c + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        simd::store(to + (c + 4) * ldt,
                    __builtin_shufflevector(fours[c], fours[c + 4], 4, 5, 6, 7, 12, 13, 14, 15));
    }
}

/// The transpose of `count` packed rows of `width` in panels of 16 rows: panel p holds [padded(width)][16]
/// elements. The rows up to the next multiple of 16 must be there (whatever they hold comes out in columns
/// nobody reads).
inline void pack_panels(const float* rows, std::int64_t count, std::int64_t width, float* panels) {
    const std::int64_t ld = padded(width);
    for (std::int64_t r = 0; r < count; r += kColumns, panels += ld * kColumns)
        for (std::int64_t c = 0; c < width; c += 8) {
            transpose_8x8(rows + r * ld + c, ld, panels + c * kColumns, kColumns);
            transpose_8x8(rows + (r + 8) * ld + c, ld, panels + c * kColumns + 8, kColumns);
        }
}

/// Memory that a thread keeps from call to call, so that the steady state allocates nothing; contents are
/// left open.
class Scratch {
  public:
    /// Room for `count` floats in all, to be handed out by take. What was taken before is no longer valid.
    void reserve(std::int64_t count) {
        if (count > capacity_) {
            data_.reset();
            capacity_ = 0;
            const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(float) + 4095) / 4096 * 4096;
            data_.reset(static_cast<float*>(std::aligned_alloc(4096, bytes)));
            if (!data_) throw std::bad_alloc();
            capacity_ = count;
        }
        next_ = data_.get();
    }
    /// `count` floats of what was reserved, aligned to 64 bytes.
    float* take(std::int64_t count) {
        float* taken = next_;
        next_ += rounded(count);
        return taken;
    }
    /// What take(count) uses up.
    static constexpr std::int64_t rounded(std::int64_t count) { return (count + 15) / 16 * 16; }

  private:
    struct Free {
        void operator()(float* data) const { std::free(data); }
    };
    std::unique_ptr<float, Free> data_;
    float* next_ = nullptr;
    std::int64_t capacity_ = 0;
};

}  // namespace skein::kernels::tiles
