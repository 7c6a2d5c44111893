#pragma once

#include <memory>

#include "model/autograd/ops/cross_entropy.h"
#include "model/nn/block.h"

namespace skein {

/// The decoder-only Transformer: token and position embeddings, blocks, a final norm (pre-norm only), and an output
/// projection that is the token embedding itself when tied. With pre-norm, GELU and learned positions it is GPT-2 (Radford
/// et al., 2019).
class Transformer {
  public:
    /// Makes the parameters on the stream with the initial values of `seed`. Throws ConfigError.
    Transformer(Stream& stream, const ModelConfig& config, std::uint64_t seed);
    Transformer(const Transformer&) = delete;
    Transformer& operator=(const Transformer&) = delete;

    const ModelConfig& config() const { return config_; }
    ParameterList& parameters() { return parameters_; }
    const ParameterList& parameters() const { return parameters_; }

    /// Forward of one pass, with its loss. On a tape that records, options.gradient_scale times the gradient of the
    /// summed loss reaches the parameters when backward is called on the result's root.
    LossSums loss(Tape& tape, const TokenPass& batch, const PassContext& pass, LossOptions options) const;

    /// A state for `samples` sequences decoded side by side, of up to `context` positions.
    DecodeState start_decoding(Stream& stream, std::int64_t samples, std::int64_t context) const;
    /// Feeds ids (i32 [samples, length]) at the state's position and returns the logits after the last of them,
    /// [samples, vocabulary]. Throws ShapeError past the context.
    Tensor decode(Stream& stream, const Tensor& ids, DecodeState& state) const;

  private:
    Var embed(Tape& tape, const Tensor& ids, const kernels::RowPlace& place, const PassContext& pass) const;
    Parameter& output_table() const { return head_ ? *head_ : *tokens_; }

    ModelConfig config_;
    ParameterList parameters_;
    Parameter* tokens_ = nullptr;
    Parameter* positions_ = nullptr;  // learned ones
    Tensor sinusoids_;                // [context, width], or empty
    Parameter* head_ = nullptr;       // null: tied
    DropoutSite embedding_dropout_;
    std::vector<Block> blocks_;
    NormWeights final_norm_;
};

/// Sinusoidal positions [context, width]: channel 2i is sin(position / 10000^(2i / width)), 2i + 1 its cosine (Vaswani et
/// al., 2017, section 3.5).
Tensor sinusoidal_positions(Stream& stream, std::int64_t context, std::int64_t width);

}  // namespace skein
