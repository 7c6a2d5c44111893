#pragma once

#include "model/kernels/cuda/portable.cuh"
#include "model/kernels/cuda/reduce.cuh"

/// Products of small matrices by a warp, each lane holding its share in registers: [16, 16] · [16, 8] summed
/// into [16, 8]. In 16 bits that is one mma.sync.m16n8k16 of the tensor cores, whose fragments ldmatrix loads
/// from shared memory; in fp32 there is no such unit (TF32 is not fp32), and each lane reads the rows and
/// columns of its own four elements and multiplies by FMA, in order.
///
/// Operands lie in shared memory as rows of `stride` elements, which must be an odd multiple of 16 bytes:
/// then eight rows fall on different banks.
namespace skein::kernels::cuda {

/// This lane's elements of a [16, 8] sum, in every type: v[2h + i] is row lane_row() + 8h, column
/// lane_column() + i.
struct Sums {
    float v[4];
};
__device__ inline int lane_row() {
    return thread_index() % kWarp / 4;
}
__device__ inline int lane_column() {
    return thread_index() % 4 * 2;
}

/// A left operand [16, 16].
template <class T>
struct RowFragment {
    unsigned r[4];
};
template <>
struct RowFragment<float> {
    float v[2][16];  // rows lane_row() and lane_row() + 8
};

/// A right operand [16, 8].
template <class T>
struct ColumnFragment {
    unsigned r[2];
};
template <>
struct ColumnFragment<float> {
    float v[2][16];  // columns lane_column() and lane_column() + 1
};

/// The rows 0 ... 15 of `tile`, its columns being those of the left operand.
template <class T>
__device__ inline RowFragment<T> load_rows(const T* tile, int stride) {
    RowFragment<T> a;
    if constexpr (sizeof(T) == 2) {
        const int lane = thread_index() % kWarp;
        load_matrices(a.r, tile + lane % 16 * stride + lane / 16 * 8);
    } else {
        SKEIN_UNROLL
        for (int h = 0; h < 2; ++h) SKEIN_UNROLL
        for (int k = 0; k < 16; k += 4) {
            const Sixteen<float> four = load_sixteen(tile + (lane_row() + 8 * h) * stride + k);
            SKEIN_UNROLL
            for (int i = 0; i < 4; ++i) a.v[h][k + i] = four.v[i];
        }
    }
    return a;
}

/// Two right operands whose columns are the rows 0 ... 15 of `tile`: its transpose.
template <class T>
__device__ inline void load_columns(const T* tile, int stride, ColumnFragment<T> (&b)[2]) {
    if constexpr (sizeof(T) == 2) {
        const int lane = thread_index() % kWarp;
        unsigned r[4];
        load_matrices(r, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
        b[0] = {r[0], r[1]};
        b[1] = {r[2], r[3]};
    } else {
        SKEIN_UNROLL
        for (int n = 0; n < 4; ++n) SKEIN_UNROLL
        for (int k = 0; k < 16; k += 4) {
            const Sixteen<float> four = load_sixteen(tile + (lane_column() + n % 2 + n / 2 * 8) * stride + k);
            SKEIN_UNROLL
            for (int i = 0; i < 4; ++i) b[n / 2].v[n % 2][k + i] = four.v[i];
        }
    }
}

/// Two right operands: the rows 0 ... 15 of `tile`, its columns 0 ... 7 and 8 ... 15.
template <class T>
__device__ inline void load_columns_of_rows(const T* tile, int stride, ColumnFragment<T> (&b)[2]) {
    if constexpr (sizeof(T) == 2) {
        const int lane = thread_index() % kWarp;
        unsigned r[4];
        load_matrices_transposed(r, tile + lane % 16 * stride + lane / 16 * 8);
        b[0] = {r[0], r[1]};
        b[1] = {r[2], r[3]};
    } else {
        SKEIN_UNROLL
        for (int k = 0; k < 16; ++k) SKEIN_UNROLL
        for (int n = 0; n < 4; ++n)
            b[n / 2].v[n % 2][k] = tile[k * stride + lane_column() + n % 2 + n / 2 * 8];
    }
}

/// Two sums side by side as a left operand, rounded to T.
template <class T>
__device__ inline RowFragment<T> rows_of_sums(const Sums& left, const Sums& right) {
    RowFragment<T> a;
    if constexpr (sizeof(T) == 2) {
        a.r[0] = narrow_two<T>(left.v[0], left.v[1]);
        a.r[1] = narrow_two<T>(left.v[2], left.v[3]);
        a.r[2] = narrow_two<T>(right.v[0], right.v[1]);
        a.r[3] = narrow_two<T>(right.v[2], right.v[3]);
    } else {
        const int quad = thread_index() % kWarp / 4 * 4;
        SKEIN_UNROLL
        for (int k = 0; k < 16; ++k) SKEIN_UNROLL
        for (int h = 0; h < 2; ++h)
            a.v[h][k] = shuffle((k < 8 ? left : right).v[2 * h + k % 2], quad + k % 8 / 2);
    }
    return a;
}

/// sums += a · b
template <class T>
__device__ inline void multiply(Sums& sums, const RowFragment<T>& a, const ColumnFragment<T>& b) {
    if constexpr (sizeof(T) == 2) {
        mma_16x8x16<T>(sums.v, a.r, b.r);
    } else {
        SKEIN_UNROLL
        for (int k = 0; k < 16; ++k) SKEIN_UNROLL
        for (int i = 0; i < 4; ++i) sums.v[i] = fmaf(a.v[i / 2][k], b.v[i % 2][k], sums.v[i]);
    }
}

}  // namespace skein::kernels::cuda
