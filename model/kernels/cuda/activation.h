#pragma once

#include <cstdint>

#include "model/kernels/elementwise.h"
#include "model/kernels/gemm.h"
#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// y = mask · epilogue(x + bias): what the CPU does at the end of a product and right after it, in one pass
/// over it. x, y: [rows, width], a row every `stride` elements; they may be the same. x may be null, which
/// stands for zeros. bias: [width] or null. aux, of a's type: GELU writes x + bias to it (or, if it is null,
/// does not), the backward ones read it. The epilogue is that of the unrounded sum; y and aux are rounded
/// once. T and Aux: the same, or T is float.
template <class T, class Aux>
struct ActivationArgs {
    std::int64_t rows = 0, width = 0;
    Epilogue epilogue = Epilogue::kNone;
    const T* x = nullptr;
    std::int64_t x_stride = 0;
    const float* bias = nullptr;
    Aux* aux = nullptr;
    std::int64_t aux_stride = 0;
    Dropout dropout{};
    RowPlace place{};
    T* y = nullptr;
    std::int64_t y_stride = 0;
};
template <class T, class Aux>
void activation(CudaStream& stream, const ActivationArgs<T, Aux>& args);

}  // namespace skein::kernels::cuda
