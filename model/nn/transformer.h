#pragma once

#include <optional>
#include <vector>

#include "model/autograd/ops/cross_entropy.h"
#include "model/nn/block.h"
#include "model/nn/input_embedding.h"
#include "model/nn/model.h"

namespace skein {

/// The decoder-only Transformer: token and position embeddings, blocks, a final norm (pre-norm only), and an
/// output projection that is the token embedding itself when tied. With pre-norm, GELU and learned positions
/// it is GPT-2 (Radford et al., 2019).
class Transformer : public Model {
  public:
    /// Makes the parameters, or this rank's part of them, on the stream with the initial values of `seed`.
    /// Throws ConfigError.
    Transformer(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                const TensorSharing& sharing = {});

    /// Forward of one pass, with its loss. On a tape that records, options.gradient_scale times the gradient
    /// of the summed loss reaches the parameters when backward is called on the result's root.
    LossSums loss(Tape& tape, const TokenPass& batch, const PassContext& pass, LossOptions options) const;

    /// A state for `samples` sequences decoded side by side, of up to `context` positions.
    DecodeState start_decoding(Stream& stream, std::int64_t samples, std::int64_t context) const;
    /// Feeds ids (i32 [samples, length]) at the state's position and returns the logits after the last of
    /// them, [samples, vocabulary]. Throws ShapeError past the context.
    Tensor decode(Stream& stream, const Tensor& ids, DecodeState& state) const;

  private:
    std::optional<InputEmbedding> embed_;
    Parameter* output_table_ = nullptr;
    std::vector<Block> blocks_;
    NormWeights final_norm_;
};

}  // namespace skein
