#pragma once

#include <cstdint>

#include "model/kernels/dropout.h"
#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// target (+)= source, elementwise, each of its own dtype: so it converts as well. Rounded once.
void copy_or_add(CpuStream& stream, ConstOperand source, Operand target, std::int64_t count, bool accumulate);

/// Rows of a [samples · positions, width] buffer as a dropout mask sees them: row r is position r % positions
/// + first_position of sample first_sample + r / positions.
struct RowPlace {
    std::int64_t positions = 1;
    std::int64_t first_sample = 0;
    std::int64_t first_position = 0;
};

/// y (+)= x · mask. x, y: [rows, width]; may be the same buffer. In 16 bits the whole is rounded once.
void apply_dropout(CpuStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate = false);

/// sums[c] (+)= the sum over rows of x[r, c], in order of r within blocks of 256 rows, blocks in order. x:
/// [rows, width].
void column_sums(CpuStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                 bool accumulate);

/// Squares of the elements of one tensor, summed in fp64 over each block of kNormBlock elements counted from
/// global index 0: sums[i] is block i, of which there are ceil(count / kNormBlock).
inline constexpr std::int64_t kNormBlock = 65536;
void block_square_sums(CpuStream& stream, const float* x, std::int64_t count, double* sums);

}  // namespace skein::kernels
