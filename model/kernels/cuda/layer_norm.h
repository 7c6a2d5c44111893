#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/kernels/elementwise.h"

namespace skein::kernels::cuda {

/// The widest row: threads hold a row in registers, so that it is read once.
inline constexpr std::int64_t kWidestNorm = 16384;

/// As kernels::LayerNormArgs. In 16 bits the norm is that of `sum` as it is stored, so that backward sees the
/// same values.
template <class T>
struct LayerNormArgs {
    std::int64_t rows = 0, width = 0;
    const T* x = nullptr;
    const T* delta = nullptr;  ///< null: no residual, and sum is x itself
    Dropout dropout{};         ///< of delta
    RowPlace place{};
    T* sum = nullptr;  ///< written when delta is given
    const T* gamma = nullptr;
    const T* beta = nullptr;  ///< or null
    float epsilon = 1e-5f;
    T* y = nullptr;
    float* mean = nullptr;  ///< or null
    float* rstd = nullptr;  ///< or null
};
/// Throws ShapeError for a width above kWidestNorm.
template <class T>
void layer_norm(CudaStream& stream, const LayerNormArgs<T>& args);

/// As kernels::LayerNormBackwardArgs; x and dy are read once. dgamma and dbeta are fp32: parts of 16 rows are
/// summed in order, the parts as column_sums has it. workspace: layer_norm_workspace(rows, width) floats,
/// aligned to 16 bytes.
template <class T>
struct LayerNormBackwardArgs {
    std::int64_t rows = 0, width = 0;
    const T* sum = nullptr;
    const T* gamma = nullptr;
    const float* mean = nullptr;
    const float* rstd = nullptr;
    const T* dy = nullptr;
    T* dsum = nullptr;
    bool accumulate_sum = false;
    float* dgamma = nullptr;
    bool accumulate_gamma = false;
    float* dbeta = nullptr;  ///< or null
    bool accumulate_beta = false;
    float* workspace = nullptr;
};
std::int64_t layer_norm_workspace(std::int64_t rows, std::int64_t width);
template <class T>
void layer_norm_backward(CudaStream& stream, const LayerNormBackwardArgs<T>& args);

}  // namespace skein::kernels::cuda
