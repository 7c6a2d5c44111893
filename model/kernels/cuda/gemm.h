#pragma once

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/gemm.h"

namespace skein::kernels {

/// The product on a GPU, by cuBLASLt (lt_product.h), then bias and epilogue in one pass over c
/// (activation.h). Queued; returns before it is done. Throws ShapeError for leading dimensions shorter than a
/// row, addresses off a multiple of the element's size and dtypes that do not go together; CudaError where
/// CUDA refuses.
///
/// Every call gives the same bits, since one plan always runs one algorithm; not those of the CPU, whose sums
/// are grouped in another way. Two things differ from what gemm.h says:
///   - where c is of 16 bits and there is a bias or an epilogue, the sum is rounded to c before they are
///   taken
///     of it (once more than on the CPU: half a unit in the last place of the sum), for the product writes
///     c and the pass reads it;
///   - an element's bits may depend on m, n, leading dimensions and alignments, by which the library chooses.
/// With stream.tf32 the operands of fp32 products are rounded to TF32's 10 bits of fraction.
void gemm(CudaStream& stream, const GemmArgs& args);

}  // namespace skein::kernels
