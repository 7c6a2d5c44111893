#pragma once

#include <cstdint>

#include "model/kernels/dropout.h"
#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

/// Kernels are overloads on the stream's type: one arguments struct, and what a pointer points to lies in the
/// memory of the stream's device. Whatever the dtypes, arithmetic is fp32 unless said otherwise, and what is
/// stored in 16 bits is rounded once. Every kernel gives the same bits each time: how work is cut depends on
/// shapes alone, and nothing is added atomically but integers. Those on a GPU are queued on its stream, and
/// throw CudaError when a launch is refused.
namespace skein::kernels {

/// target (+)= source, elementwise, each of its own dtype: so it converts as well. Rounded once.
void copy_or_add(CpuStream& stream, ConstOperand source, Operand target, std::int64_t count, bool accumulate);
void copy_or_add(CudaStream& stream, ConstOperand source, Operand target, std::int64_t count,
                 bool accumulate);

/// target = left + right, which may be one of them. All of [count].
void add(CpuStream& stream, const float* left, const float* right, float* target, std::int64_t count);
void add(CudaStream& stream, const float* left, const float* right, float* target, std::int64_t count);

/// What a [samples · positions, width] buffer holds, as a dropout mask sees it. The buffer may be a slice of
/// its rows or of its columns.
struct RowPlace {
    std::int64_t positions = 1;
    std::int64_t first_sample = 0;
    std::int64_t first_position = 0;
    std::int64_t first_row = 0;      ///< which of the rows is the slice's row 0
    std::int64_t first_channel = 0;  ///< which of the columns is its column 0: a multiple of 8

    constexpr std::int64_t sample(std::int64_t r) const { return first_sample + (first_row + r) / positions; }
    constexpr std::int64_t position(std::int64_t r) const {
        return first_position + (first_row + r) % positions;
    }
};

/// y (+)= x · mask. x, y: [rows, width]; may be the same buffer. In 16 bits the whole is rounded once.
void apply_dropout(CpuStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate = false);
void apply_dropout(CudaStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate = false);

/// sums[c] (+)= the sum over rows of x[r, c]. x: [rows, width]. The CPU adds in order of r within blocks of
/// 256 rows, then blocks in order. A GPU sums parts of 256 rows, each as 32 interleaved sums of rows in order
/// that are added as a tree; then parts of 256 parts, until one is left. Scratch comes from the stream's
/// pool.
void column_sums(CpuStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                 bool accumulate);
void column_sums(CudaStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                 bool accumulate);

/// Squares of the elements of one tensor, summed in fp64 over each block of kNormBlock elements counted from
/// global index 0: sums[i] is block i, of norm_blocks(count).
inline constexpr std::int64_t kNormBlock = 65536;
constexpr std::int64_t norm_blocks(std::int64_t count) {
    return (count + kNormBlock - 1) / kNormBlock;
}
void block_square_sums(CpuStream& stream, const float* x, std::int64_t count, double* sums);

}  // namespace skein::kernels
