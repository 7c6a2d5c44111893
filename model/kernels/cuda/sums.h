#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/kernels/elementwise.h"

namespace skein::kernels::cuda {

/// sums[c] (+)= the sum over rows of x[r, c]. x: [rows, width], from one row to the next `stride` elements.
/// Parts of 256 rows are summed, each as 32 interleaved sums of rows in order that are added as a tree; then
/// parts of 256 parts, until one is left. workspace: column_sums_workspace(rows, width) floats, aligned to 16
/// bytes.
template <class T>
void column_sums(CudaStream& stream, std::int64_t rows, std::int64_t width, const T* x, std::int64_t stride,
                 float* sums, bool accumulate, float* workspace);
std::int64_t column_sums_workspace(std::int64_t rows, std::int64_t width);

/// Squares of the elements of one tensor, summed in fp64 over each block of kNormBlock elements: sums[i] is
/// block i.
template <class T>
void block_square_sums(CudaStream& stream, const T* x, std::int64_t count, double* sums);

}  // namespace skein::kernels::cuda
