#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/kernels/elementwise.h"

namespace skein::kernels::cuda {

enum class Activation { kGelu, kRelu };

/// y = dropout(activation(x + bias)): what the CPU does in the epilogue of the product and right after it. x,
/// y: [rows, width], may be the same for ReLU. bias: [width] or null. GELU leaves x + bias in x, for
/// backward, and is that of the value as it is stored.
template <class T>
struct BiasActivationArgs {
    std::int64_t rows = 0, width = 0;
    Activation activation = Activation::kGelu;
    T* x = nullptr;
    const T* bias = nullptr;
    Dropout dropout{};
    RowPlace place{};
    T* y = nullptr;
};
template <class T>
void bias_activation(CudaStream& stream, const BiasActivationArgs<T>& args);

/// dx = dy · activation' · mask. dy, dx: [rows, width], may be the same. kept: for GELU what forward left in
/// x, for ReLU its y.
template <class T>
struct ActivationBackwardArgs {
    std::int64_t rows = 0, width = 0;
    Activation activation = Activation::kGelu;
    const T* dy = nullptr;
    const T* kept = nullptr;
    Dropout dropout{};
    RowPlace place{};
    T* dx = nullptr;
};
template <class T>
void activation_backward(CudaStream& stream, const ActivationBackwardArgs<T>& args);

}  // namespace skein::kernels::cuda
