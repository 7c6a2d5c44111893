#pragma once

#include <optional>
#include <vector>

#include "model/autograd/ops/cross_entropy.h"
#include "model/nn/input_embedding.h"
#include "model/nn/model.h"
#include "model/nn/pair_decode_state.h"

namespace skein {

/// The Transformer of Vaswani et al., 2017: an encoder that sees its whole source, and a decoder that sees
/// the target so far and the encoder's output. Each stack ends in a norm of its own with pre-norm only. Of
/// the three tables (source and target embedding, output projection) the two embeddings are one with
/// share_embeddings, and target embedding and output projection with tie_embeddings.
///
/// The bits of a sample's losses depend on its own tokens, its lengths and (through dropout) its number in
/// the batch: not on padding, nor on what is beside it. Padding sends no gradient.
class EncoderDecoder : public Model {
  public:
    /// Makes the parameters, or this rank's part of them, on the stream with the initial values of `seed`.
    /// Throws ConfigError.
    EncoderDecoder(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                   const TensorSharing& sharing = {});

    /// Forward of one pass, with its loss. On a tape that records, options.gradient_scale times the gradient
    /// of the summed loss reaches the parameters when backward is called on the result's root. Throws
    /// ShapeError.
    LossSums loss(Tape& tape, const PairPass& batch, const PassContext& pass, LossOptions options) const;

    /// source: i32 [samples, length], padded; lengths: i32 [samples].
    EncodedSource encode(Tape& tape, const Tensor& source, const Tensor& lengths,
                         const PassContext& pass) const;

    /// Encodes the sources and makes a state for `beams` targets of each, of up to `capacity` positions, at
    /// most the context. Throws ShapeError.
    PairDecodeState start_decoding(Stream& stream, const Tensor& source, const Tensor& lengths,
                                   std::int64_t beams, std::int64_t capacity) const;
    /// Feeds one id to each row (i32 [rows]) at the state's position and returns the logits after it, [rows,
    /// vocabulary]. Throws ShapeError past the capacity.
    Tensor decode(Stream& stream, const Tensor& ids, PairDecodeState& state) const;

  private:
    std::optional<InputEmbedding> embed_source_, embed_target_;
    std::vector<Block> encoder_;
    NormWeights encoder_norm_;
    std::vector<DecoderBlock> decoder_;
    NormWeights decoder_norm_;
    Parameter* output_table_ = nullptr;
};

}  // namespace skein
