#pragma once

#include <cstdint>

#include "model/kernels/elementwise.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// Layer norm with the residual add before it (Ba, Kiros and Hinton, 2016):
///   sum = x + dropout(delta);  y = (sum - mean) · rstd · gamma + beta,  rstd = 1 / sqrt(variance + epsilon)
/// with mean and (biased) variance over a row. x, delta, sum, y: [rows, width]; gamma, beta: [width]; mean,
/// rstd: [rows]. x, delta, sum and y are of one dtype. The sum is rounded first: mean, rstd and y are those
/// of the sum as it is stored, which is what backward reads. y is rounded once.
struct LayerNormArgs {
    std::int64_t rows = 0, width = 0;
    ConstOperand x{};
    ConstOperand delta{};  ///< null: no residual, and sum is x itself
    Dropout dropout{};     ///< of delta
    RowPlace place{};
    Operand sum{};  ///< written when delta is given
    const float* gamma = nullptr;
    const float* beta = nullptr;  ///< or null
    float epsilon = 1e-5f;
    Operand y{};
    float* mean = nullptr;
    float* rstd = nullptr;
};
void layer_norm(CpuStream& stream, const LayerNormArgs& args);
/// Throws ShapeError for rows wider than 16384.
void layer_norm(CudaStream& stream, const LayerNormArgs& args);

/// With n = (sum - mean) · rstd and g = dy · gamma:
///   dsum (+)= rstd · (g - mean(g) - n · mean(g · n));  dgamma (+)= Σ dy · n;  dbeta (+)= Σ dy
/// On the CPU the sums over rows run over blocks of 32 rows, blocks in order; on a GPU over parts of 16 rows,
/// and over the parts as column_sums has it. sum, dy and dsum are of one dtype; dsum is rounded once, what
/// was there included. Scratch comes from the stream's pool.
struct LayerNormBackwardArgs {
    std::int64_t rows = 0, width = 0;
    ConstOperand sum{};
    const float* gamma = nullptr;
    const float* mean = nullptr;
    const float* rstd = nullptr;
    ConstOperand dy{};
    Operand dsum{};
    bool accumulate_sum = false;
    float* dgamma = nullptr;
    bool accumulate_gamma = false;
    float* dbeta = nullptr;  ///< or null
    bool accumulate_beta = false;
};
void layer_norm_backward(CpuStream& stream, const LayerNormBackwardArgs& args);
/// Throws ShapeError for rows wider than 16384.
void layer_norm_backward(CudaStream& stream, const LayerNormBackwardArgs& args);

}  // namespace skein::kernels
