#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/kernels/elementwise.h"

namespace skein::kernels::cuda {

/// As kernels::EmbeddingArgs.
template <class T>
struct EmbeddingArgs {
    std::int64_t rows = 0, width = 0;
    const std::int32_t* ids = nullptr;
    const T* table = nullptr;
    const T* positions = nullptr;  ///< or null
    float scale = 1.0f;
    Dropout dropout{};
    RowPlace place{};
    T* y = nullptr;
};
template <class T>
void embedding(CudaStream& stream, const EmbeddingArgs<T>& args);

/// As kernels::EmbeddingBackwardArgs, with the same order of every sum; the gradients are fp32. workspace:
/// embedding_backward_workspace(rows, vocabulary) integers.
template <class T>
struct EmbeddingBackwardArgs {
    std::int64_t rows = 0, width = 0, vocabulary = 0, context = 0;
    const std::int32_t* ids = nullptr;
    const T* dy = nullptr;
    float scale = 1.0f;
    RowPlace place{};
    float* dtable = nullptr;  ///< or null
    bool accumulate_table = false;
    float* dpositions = nullptr;  ///< or null
    bool accumulate_positions = false;
    std::int32_t* workspace = nullptr;
};
std::int64_t embedding_backward_workspace(std::int64_t rows, std::int64_t vocabulary);
template <class T>
void embedding_backward(CudaStream& stream, const EmbeddingBackwardArgs<T>& args);

}  // namespace skein::kernels::cuda
