#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/kernels/elementwise.h"

/// The CUDA kernels by element type T: float, Bf16 or F16 (model/tensor/float16.h). Pointers are to the
/// device's memory. Arithmetic is fp32; what is stored in 16 bits is rounded once. Every kernel gives the
/// same bits each time: how work is cut depends on shapes alone, and nothing is added atomically but
/// integers. All throw CudaError when a launch is refused.
namespace skein::kernels::cuda {

/// target (+)= source, elementwise, converted. From and To: one of them float, or both the same.
template <class From, class To>
void copy_or_add(CudaStream& stream, const From* source, To* target, std::int64_t count, bool accumulate);

/// y (+)= x · mask. x, y: [rows, width]; may be the same buffer. The masks are the CPU's.
template <class T>
void apply_dropout(CudaStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, const T* x, T* y, bool accumulate = false);

}  // namespace skein::kernels::cuda
