#pragma once

#include "model/nn/attention.h"
#include "model/nn/feed_forward.h"
#include "model/nn/residual_stream.h"

namespace skein {

/// One layer of an encoder, or of a decoder-only Transformer: attention, then feed-forward, each on the
/// residual stream with its norm before (pre-norm) or after it (post-norm).
class Block {
  public:
    Block(Builder& builder, const std::string& name, bool causal);

    /// lengths: i32 [samples], or empty for samples without padding.
    /// With pass.recompute it must outlive the tape.
    void operator()(ResidualStream& stream, const PassContext& pass, const Tensor& lengths = {}) const;
    void decode(ResidualStream& stream, KeyValueCache& cache, std::int64_t state_length,
                std::int64_t samples) const;

  private:
    void run(ResidualStream& stream, const PassContext& pass, const Tensor& lengths) const;

    NormPlace norm_place_;
    NormWeights attention_norm_;
    SelfAttention attention_;
    DropoutSite attention_dropout_;
    NormWeights feed_forward_norm_;
    FeedForward feed_forward_;
    DropoutSite feed_forward_dropout_;
};

/// One layer of an encoder-decoder's decoder: causal attention to itself, attention to the encoder's output,
/// feed-forward.
class DecoderBlock {
  public:
    DecoderBlock(Builder& builder, const std::string& name);

    /// lengths: i32 [samples], of the stream.
    void operator()(ResidualStream& stream, const EncodedSource& source, const Tensor& lengths,
                    const PassContext& pass) const;
    /// What one layer keeps of a decoding: its own keys and values, which grow, and the source's.
    struct Cache {
        KeyValueCache own;
        Tensor source;  ///< of CrossAttention::keys_and_values
    };
    Tensor keys_and_values(const EncodedSource& source) const {
        return cross_attention_.keys_and_values(source);
    }
    /// Inference, of one position in each row of the stream, after `state_length` others. source_lengths: i32
    /// [sentences], each with an equal number of rows.
    void decode(ResidualStream& stream, Cache& cache, std::int64_t state_length,
                const Tensor& source_lengths) const;

  private:
    void run(ResidualStream& stream, const EncodedSource& source, const Tensor& lengths,
             const PassContext& pass) const;

    NormPlace norm_place_;
    NormWeights attention_norm_;
    SelfAttention attention_;
    DropoutSite attention_dropout_;
    NormWeights cross_attention_norm_;
    CrossAttention cross_attention_;
    DropoutSite cross_attention_dropout_;
    NormWeights feed_forward_norm_;
    FeedForward feed_forward_;
    DropoutSite feed_forward_dropout_;
};

}  // namespace skein
