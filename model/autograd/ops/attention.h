#pragma once

#include "model/autograd/tape.h"
#include "model/kernels/dropout.h"

namespace skein {

/// Who sees whom, and what is added to the scores; see kernels::AttentionArgs for the exact meaning of each.
struct AttentionOptions {
    std::int64_t batch = 0, query_length = 0, key_length = 0;
    std::int64_t heads = 0, key_value_heads = 0, head_width = 0;
    /// Where keys and values hold more heads than are read here: how many, and which is the first that is.
    std::int64_t stored_key_value_heads = 0, first_key_value_head = 0;
    bool causal = false;
    std::int64_t query_offset = 0;
    Tensor key_lengths;             ///< i32 [batch], or empty
    Tensor query_lengths;           ///< i32 [batch], or empty
    Var bias;                       ///< [heads, query_length, key_length], or none
    Tensor rotary_cos, rotary_sin;  ///< [positions, head_width / 2], or empty
    kernels::Dropout dropout;
    std::int64_t first_sample = 0;
    std::int64_t first_head = 0;  ///< for dropout: the number of head 0 in the whole model

    std::int64_t stored_heads() const {
        return stored_key_value_heads > 0 ? stored_key_value_heads : key_value_heads;
    }
};

/// Attention of a sequence to itself. qkv: [batch · length, (heads + 2 · key_value_heads) · head_width],
/// queries first, then keys, then values, each by heads. The result is [batch · length, heads · head_width].
/// Throws ShapeError.
Var self_attention(const Var& qkv, const AttentionOptions& options);

/// Attention of one sequence to another. query: [batch · query_length, heads · head_width]; key_value: [batch
/// · key_length, 2 · stored_heads() · head_width], keys first.
Var cross_attention(const Var& query, const Var& key_value, const AttentionOptions& options);

/// Inference only: queries [batch · query_length, query_stride] (the first heads · head_width columns are
/// read) against cached keys and values of [batch, key_length, stored_heads() · head_width] each.
Tensor cached_attention(Stream& stream, const Tensor& query, const Tensor& keys, const Tensor& values,
                        const AttentionOptions& options);

}  // namespace skein
