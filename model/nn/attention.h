#pragma once

#include "model/autograd/ops/attention.h"
#include "model/nn/builder.h"

namespace skein {

/// Keys and values of the positions that one layer has seen: [samples, context, key-value heads · head_width]
/// each, of the heads that this rank has the weights of, in the dtype that forward computes in. The number of
/// positions filled is kept by whoever drives the decoding.
struct KeyValueCache {
    Tensor keys, values;
};

/// Where a sequence stands while it is decoded step by step: the positions already in the caches, one cache a
/// layer.
struct DecodeState {
    std::int64_t length = 0;
    std::vector<KeyValueCache> layers;
};

/// Multi-head attention of a sequence to itself (Vaswani et al., 2017, section 3.2.2). Queries, keys and
/// values come from one packed weight [3, heads, head_width, width], or, where there are fewer key-value
/// heads, from one for the queries and one for keys and values [2, key_value_heads, head_width, width]. Where
/// a group shares the heads out, a rank computes its own, and the result is its part of a sum.
class SelfAttention {
  public:
    SelfAttention(Builder& builder, const std::string& name, bool causal);

    /// x: [samples · length, width], normed or not as the block has it; the result has x's shape. lengths:
    /// i32 [samples], or empty for samples without padding: positions at and after them are not seen, and get
    /// zero.
    Var operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass,
                   const Tensor& lengths = {}) const;
    /// Inference: appends the keys and values of x at position `state_length` of the cache and attends to all
    /// before.
    Var decode(const Var& x, KeyValueCache& cache, std::int64_t state_length, std::int64_t samples) const;

  private:
    OwnHeads own_;
    BiasUse output_bias_;
    bool causal_;
    LinearWeights qkv_;                // packed, or
    LinearWeights query_, key_value_;  // separate
    LinearWeights output_;
    DropoutSite dropout_;
};

/// What a decoder reads of its encoder: the last hidden states [samples · length, width], of which the first
/// lengths[sample] (i32 [samples]) of each sample are seen.
struct EncodedSource {
    Var states;
    Tensor lengths;
    std::int64_t length = 0;
};

/// Multi-head attention of a decoder (the queries) to its encoder's output (keys and values, from one packed
/// weight [2, key_value_heads, head_width, width]). Shared out as self-attention is.
class CrossAttention {
  public:
    CrossAttention(Builder& builder, const std::string& name);

    /// x: [samples · length, width]; the result has x's shape. lengths: i32 [samples], of x.
    Var operator()(const Var& x, const kernels::RowPlace& place, const EncodedSource& source,
                   const Tensor& lengths, const PassContext& pass) const;

    /// Inference: keys and values of the source, [samples · source.length, 2 · key_value_heads · head_width],
    /// which all steps of a decoding share.
    Tensor keys_and_values(const EncodedSource& source) const;
    /// Inference: x, [samples · rows, width], against them. The rows of one sample may be its beams: they all
    /// read the same keys.
    Var decode(const Var& x, const Tensor& keys_and_values, const Tensor& source_lengths) const;

  private:
    OwnHeads own_;
    BiasUse output_bias_;
    LinearWeights query_, key_value_, output_;
    DropoutSite dropout_;
};

}  // namespace skein
