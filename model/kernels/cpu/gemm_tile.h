#pragma once

#include <cstdint>

#include "model/kernels/cpu/simd.h"
#include "model/kernels/gemm.h"

/// The innermost part of the CPU's matrix product: a tile of c held in registers.
namespace skein::kernels {

inline constexpr std::int64_t kTileRows = 6,
                              kTileVectors = 2;  // 12 sums, 2 vectors of b and an element of a: 15 of 16
inline constexpr std::int64_t kTileColumns = kTileVectors * simd::kWidth;

/// A rectangle of op(a) as it lies in memory: element (i, p) is data[i * row + p * step].
struct LeftInPlace {
    const float* data;
    std::int64_t row, step;
};

/// Six rows of op(a), packed.
struct LeftPacked {
    const float* data;
    static constexpr std::int64_t row = 1, step = kTileRows;
};

/// A panel of op(b), as wide as a tile: its p-th row is data[p * step ...].
struct RightOperand {
    const float* data;
    std::int64_t step;
};

/// What happens to the sum over a K-block.
struct TileOutput {
    const GemmArgs& args;
    bool add;     ///< c already holds what this sum is added to
    bool finish;  ///< this is the last K-block, and there is a bias or an epilogue
};

/// sum[i][v] += the products over k, one fused multiply-add after the other in the order of k.
template <int kRows, int kVectors, class Left>
inline void multiply(std::int64_t k, Left a, RightOperand b, simd::F8 (&sum)[kRows][kVectors]) {
    const float* lower = a.data;
    const float* upper =
        kRows > 3 ? a.data + 3 * a.row : a.data;  // two pointers and one stride reach all six rows
    const float* from = b.data;
    for (std::int64_t p = 0; p < k; ++p) {
        simd::F8 right[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) right[v] = simd::load(from + v * simd::kWidth);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) {
            const simd::F8 left = simd::splat(i < 3 ? lower[i * a.row] : upper[(i - 3) * a.row]);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::fma(left, right[v], sum[i][v]);
        }
        lower += a.step;
        upper += a.step;
        from += b.step;
    }
}

/// The slow way for edges and epilogues: `sum` holds `rows` rows of `vectors` vectors.
void put_finished(const TileOutput& out, std::int64_t row, std::int64_t column, std::int64_t columns,
                  int rows, int vectors, const simd::F8* sum);

/// Puts sums to their place in c, from (row, column) on; `columns` of them exist.
template <int kRows, int kVectors>
inline void put(const TileOutput& out, std::int64_t row, std::int64_t column, std::int64_t columns,
                const simd::F8 (&sum)[kRows][kVectors]) {
    using simd::kWidth, simd::load, simd::store;
    if (out.finish || columns < kVectors * kWidth) {
        simd::F8 copy[kRows * kVectors];  // so that `sum` itself stays in registers
#pragma GCC unroll 16
        for (int i = 0; i < kRows * kVectors; ++i) copy[i] = sum[i / kVectors][i % kVectors];
        return put_finished(out, row, column, columns, kRows, kVectors, copy);
    }
    float* c = out.args.c.f32() + row * out.args.ldc + column;
    if (out.add) {
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i, c += out.args.ldc) {
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) store(c + v * kWidth, load(c + v * kWidth) + sum[i][v]);
        }
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i, c += out.args.ldc) {
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) store(c + v * kWidth, sum[i][v]);
        }
    }
}

/// One tile over one K-block: kRows rows of c from `row` on, and the `columns` that exist from `column` on.
template <int kRows, int kVectors, class Left>
void tile(std::int64_t k, Left a, RightOperand b, const TileOutput& out, std::int64_t row,
          std::int64_t column, std::int64_t columns) {
    simd::F8 sum[kRows][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
        __builtin_prefetch(out.args.c.f32() + (row + i) * out.args.ldc + column, 1);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::splat(0.0f);
    }
    multiply(k, a, b, sum);
    put(out, row, column, columns, sum);
}

/// The same for 1 to 6 rows, known when running. Half-empty tiles take half the work.
template <int kVectors, class Left>
void tile_of(int rows, std::int64_t k, Left a, RightOperand b, const TileOutput& out, std::int64_t row,
             std::int64_t column, std::int64_t columns) {
    switch (rows) {
        case 6:
            return tile<6, kVectors>(k, a, b, out, row, column, columns);
        case 5:
            return tile<5, kVectors>(k, a, b, out, row, column, columns);
        case 4:
            return tile<4, kVectors>(k, a, b, out, row, column, columns);
        case 3:
            return tile<3, kVectors>(k, a, b, out, row, column, columns);
        case 2:
            return tile<2, kVectors>(k, a, b, out, row, column, columns);
        default:
            return tile<1, kVectors>(k, a, b, out, row, column, columns);
    }
}

}  // namespace skein::kernels
