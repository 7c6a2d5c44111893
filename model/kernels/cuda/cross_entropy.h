#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// As kernels::CrossEntropyArgs, on the rows of one chunk of the output head: the full logits need not exist.
/// The exponentials are fp32, their sum over a row fp64.
template <class T>
struct CrossEntropyArgs {
    std::int64_t rows = 0, vocabulary = 0;
    T* logits = nullptr;  ///< replaced by dlogits when `gradient`
    bool gradient = false;
    const std::int32_t* targets = nullptr;
    double smoothing = 0.0;
    float gradient_scale = 1.0f;
    double* loss = nullptr;
    double* nll = nullptr;
    std::int64_t* correct = nullptr;
};
template <class T>
void cross_entropy(CudaStream& stream, const CrossEntropyArgs<T>& args);

}  // namespace skein::kernels::cuda
