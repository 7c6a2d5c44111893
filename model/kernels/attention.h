#pragma once

#include <cstdint>

#include "model/kernels/dropout.h"
#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// Scaled dot-product attention over a batch of heads (Vaswani et al., 2017, equation 1), tiled with a
/// running softmax so that no [query_length, key_length] matrix is kept (Dao et al., FlashAttention, 2022).
///
/// Element (sample b, position t, head h, channel c) of query is query[(b · query_length + t) · query_stride
/// + h · head_width + c]; key and value likewise with key_length, their own strides and key-value heads:
/// query head h reads key-value head h / (heads / key_value_heads). Strides let q, k and v lie packed in one
/// tensor.
///
/// query, key, value and output are of one dtype, and so are their gradients. Scores, statistics and all sums
/// are fp32; the output is rounded once. Backward reads the output as it was rounded. The CPU keeps
/// probabilities and the gradients of scores in fp32; a kernel on tensor cores rounds them to the operands'
/// dtype before it multiplies.
struct AttentionArgs {
    std::int64_t batch = 0, query_length = 0, key_length = 0;
    std::int64_t heads = 0, key_value_heads = 0, head_width = 0;
    float scale = 1.0f;  ///< of the scores, 1 / sqrt(head_width) as a rule

    ConstOperand query{}, key{}, value{};
    std::int64_t query_stride = 0, key_stride = 0, value_stride = 0;

    /// Query i stands at position i + query_offset and, if causal, sees the keys 0 ... i + query_offset.
    bool causal = false;
    std::int64_t query_offset = 0;
    /// [batch] or null: keys at and after the length are not seen.
    const std::int32_t* key_lengths = nullptr;
    /// [batch] or null: queries at and after the length see nothing. A row that sees nothing yields zero,
    /// never NaN, and sends no gradient.
    const std::int32_t* query_lengths = nullptr;
    /// [heads, query_length, key_length] or null, added to the scaled scores.
    const float* bias = nullptr;
    /// [positions, head_width / 2] or null: cosines and sines of the rotary angles (Su et al., RoFormer,
    /// 2021), applied to queries (at position i + query_offset) and keys (at position j) as they are read;
    /// channels 2c and 2c + 1 turn together.
    const float* rotary_cos = nullptr;
    const float* rotary_sin = nullptr;
    /// Of the probabilities; keyed by (first_sample + b, query position i + query_offset, key position,
    /// first_head + head).
    Dropout dropout{};
    std::int64_t first_sample = 0, first_head = 0;

    Operand output{};  ///< laid out as query, with output_stride
    std::int64_t output_stride = 0;
    float* log_sum_exp = nullptr;  ///< [batch, heads, query_length], kept for backward; null: not wanted
};

/// The gradients of the inputs, which are written, not added to, laid out and strided as the inputs.
struct AttentionBackwardArgs {
    AttentionArgs forward;  ///< with output and log_sum_exp as forward wrote them
    ConstOperand output_gradient{};
    std::int64_t output_gradient_stride = 0;
    Operand query_gradient{}, key_gradient{}, value_gradient{};
    std::int64_t query_gradient_stride = 0, key_gradient_stride = 0, value_gradient_stride = 0;
    float* bias_gradient =
        nullptr;  ///< [heads, query_length, key_length] or null; summed over the batch in order
};

/// The bits of a sample's outputs and gradients depend on its own data, its lengths, and (through dropout)
/// its number first_sample + b: not on the threads, the rest of the batch, or query_length and key_length
/// where lengths are given. Gradients of keys and values are summed over the queries in order, and within a
/// query over the heads of its group. NaN in what a row sees comes out as NaN, and may reach rows close to
/// it.
void attention(CpuStream& stream, const AttentionArgs& args);
void attention_backward(CpuStream& stream, const AttentionBackwardArgs& args);

/// On a GPU a block holds a tile of queries and goes over the keys in tiles, with a running softmax (Dao,
/// FlashAttention-2, 2023). bf16 and
/// fp16 go through the tensor cores; probabilities and the gradients of scores are rounded to that type
/// before they are multiplied, and so are queries and keys after a rotation. fp32 is fp32 throughout, never
/// TF32.
///
/// Heads of any width up to 256 (work is done for 32, 64, 128 or 256 channels; fastest where widths and
/// strides are multiples of 8 and addresses of 16 bytes), lengths and positions up to 2^30: else ShapeError.
///
/// Tiles are counted from each sample's first query and key, and their sizes depend on dtype and width alone:
/// so do the bits of a sample. Nothing is added atomically.
///
/// Work, with P = batch · heads · visible pairs of query and key (half of all if causal: tiles above the
/// diagonal are passed over):
///   forward   4 · P · width FLOPs; reads q once and k and v for every 64 queries (128 for heads up to 64
///   wide
///             in 16 bits), from the L2 cache as a rule; writes the output once
///   backward  14 · P · width FLOPs, 4 of which are the scores and their gradients taken a second time, for
///             the keys' gradients and for the queries', so that neither needs an atomic sum; reads q, k, v
///             and dO once for each and then again for every 64 keys or queries of the other side. Keys'
///             gradients of heads wider than 128 take the scores once more.
/// Both wait for nothing: they return when the kernels are queued.
///
/// The gradients of keys and values are summed over the heads of a group, and within a head over the queries,
/// in order. A bias gradient costs as much again as all the others.
void attention(CudaStream& stream, const AttentionArgs& args);
void attention_backward(CudaStream& stream, const AttentionBackwardArgs& args);

}  // namespace skein::kernels
