#pragma once

#include "model/autograd/ops/feed_forward.h"
#include "model/nn/attention.h"
#include "model/nn/residual_stream.h"

namespace skein {

/// One layer of a decoder-only Transformer: attention, then feed-forward, each on the residual stream with its norm
/// before (pre-norm) or after it (post-norm).
class Block {
  public:
    Block(Builder& builder, const std::string& name, bool causal);

    void operator()(ResidualStream& stream, const PassContext& pass) const;
    void decode(ResidualStream& stream, KeyValueCache& cache, std::int64_t state_length, std::int64_t samples) const;

  private:
    template <class Sublayer>
    void apply(ResidualStream& stream, const NormWeights& norm, const kernels::Dropout& dropout,
               const Sublayer& sublayer) const;
    Var feed(const Var& x, const kernels::RowPlace& place, const PassContext& pass) const;

    NormPlace norm_place_;
    Activation activation_;
    NormWeights attention_norm_;
    SelfAttention attention_;
    DropoutSite attention_dropout_;
    NormWeights feed_forward_norm_;
    LinearWeights feed_in_, feed_out_;
    DropoutSite hidden_dropout_, feed_dropout_;
};

}  // namespace skein
