#pragma once

#include <cstdint>

#include "model/kernels/cpu/simd.h"
#include "model/kernels/gemm.h"

/// The innermost part of the CPU's matrix product: a tile of c held in registers.
namespace skein::kernels {

inline constexpr std::int64_t kTileRows = 6, kTileVectors = 2;  // 12 sums, 2 vectors of b and an element of a: 15 of 16
inline constexpr std::int64_t kTileColumns = kTileVectors * simd::kWidth;

/// A rectangle of op(a): element (i, p) is data[i * row + p * step].
struct LeftOperand {
    const float* data;
    std::int64_t row, step;
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
    bool finish;  ///< the last K-block: bias and epilogue are due
};

/// sum[i][v] += the products over k, one fused multiply-add after the other in the order of k.
template <int kRows, int kVectors>
inline void multiply(std::int64_t k, LeftOperand a, RightOperand b, simd::F8 (&sum)[kRows][kVectors]) {
    const float* lower = a.data;
    const float* upper = kRows > 3 ? a.data + 3 * a.row : a.data;  // two pointers and one stride reach all six rows
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

/// Bias and epilogue of the vector at (row, column), of which the first `count` lanes exist.
inline simd::F8 finish(const GemmArgs& args, std::int64_t row, std::int64_t column, std::int64_t count, simd::F8 x) {
    using namespace simd;
    const bool whole = count >= kWidth;
    const auto read = [&](const float* from) { return whole ? load(from) : load_partial(from, count); };
    if (args.bias) x = x + read(args.bias + column);
    if (args.epilogue == Epilogue::kNone) return x;
    float* aux = args.aux + row * args.ld_aux + column;
    switch (args.epilogue) {
        case Epilogue::kGelu:
            whole ? store(aux, x) : store_partial(aux, x, count);
            return gelu(x);
        case Epilogue::kRelu: return max(x, splat(0.0f));
        case Epilogue::kGeluBackward: return x * gelu_derivative(read(aux));
        case Epilogue::kReluBackward: return read(aux) > splat(0.0f) ? x : splat(0.0f);
        case Epilogue::kNone: break;
    }
    return x;
}

/// Puts sums to their place in c, from (row, column) on; `columns` of them exist.
template <int kRows, int kVectors>
inline void put(const TileOutput& out, std::int64_t row, std::int64_t column, std::int64_t columns,
                const simd::F8 (&sum)[kRows][kVectors]) {
    using namespace simd;
    const GemmArgs& args = out.args;
    const bool plain = !out.finish || (!args.bias && args.epilogue == Epilogue::kNone);
    if (plain && columns >= kVectors * kWidth) {
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) {
            float* c = args.c + (row + i) * args.ldc + column;
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) {
                store(c + v * kWidth, out.add ? load(c + v * kWidth) + sum[i][v] : sum[i][v]);
            }
        }
        return;
    }
    for (int i = 0; i < kRows; ++i) {
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t at = column + v * kWidth, count = columns - v * kWidth;
            if (count <= 0) break;
            float* c = args.c + (row + i) * args.ldc + at;
            const bool whole = count >= kWidth;
            F8 x = sum[i][v];
            if (out.add) x = (whole ? load(c) : load_partial(c, count)) + x;
            if (out.finish) x = finish(args, row + i, at, count, x);
            whole ? store(c, x) : store_partial(c, x, count);
        }
    }
}

/// One tile over one K-block: kRows rows of c from `row` on, and the `columns` that exist from `column` on.
template <int kRows, int kVectors>
void tile(std::int64_t k, LeftOperand a, RightOperand b, const TileOutput& out, std::int64_t row, std::int64_t column,
          std::int64_t columns) {
    simd::F8 sum[kRows][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
        __builtin_prefetch(out.args.c + (row + i) * out.args.ldc + column, 1);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::splat(0.0f);
    }
    multiply(k, a, b, sum);
    put(out, row, column, columns, sum);
}

/// The same for 1 to 6 rows, known when running. Half-empty tiles take half the work.
template <int kVectors>
void tile_of(int rows, std::int64_t k, LeftOperand a, RightOperand b, const TileOutput& out, std::int64_t row,
             std::int64_t column, std::int64_t columns) {
    switch (rows) {
        case 6: return tile<6, kVectors>(k, a, b, out, row, column, columns);
        case 5: return tile<5, kVectors>(k, a, b, out, row, column, columns);
        case 4: return tile<4, kVectors>(k, a, b, out, row, column, columns);
        case 3: return tile<3, kVectors>(k, a, b, out, row, column, columns);
        case 2: return tile<2, kVectors>(k, a, b, out, row, column, columns);
        default: return tile<1, kVectors>(k, a, b, out, row, column, columns);
    }
}

}  // namespace skein::kernels
