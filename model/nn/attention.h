#pragma once

#include "model/nn/builder.h"

namespace skein {

/// Keys and values of the positions that one layer has seen: [samples, context, key_value_heads · head_width] each. The
/// number of positions filled is kept by whoever drives the decoding.
struct KeyValueCache {
    Tensor keys, values;
};

/// Where a sequence stands while it is decoded step by step: the positions already in the caches, one cache a layer.
struct DecodeState {
    std::int64_t length = 0;
    std::vector<KeyValueCache> layers;
};

/// Multi-head attention of a sequence to itself (Vaswani et al., 2017, section 3.2.2). Queries, keys and values come from
/// one packed weight [3, heads, head_width, width], or, where there are fewer key-value heads, from one for the queries
/// and one for keys and values [2, key_value_heads, head_width, width].
class SelfAttention {
  public:
    SelfAttention(Builder& builder, const std::string& name, bool causal);

    /// x: [samples · length, width], normed or not as the block has it; the result has x's shape.
    Var operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass) const;
    /// Inference: appends the keys and values of x at position `state_length` of the cache and attends to all before.
    Var decode(const Var& x, KeyValueCache& cache, std::int64_t state_length, std::int64_t samples) const;

  private:
    Var project(const Var& x, const LinearWeights& weights) const;

    std::int64_t heads_, key_value_heads_, head_width_;
    bool causal_;
    LinearWeights qkv_;            // packed, or
    LinearWeights query_, key_value_;  // separate
    LinearWeights output_;
    DropoutSite dropout_;
};

}  // namespace skein
