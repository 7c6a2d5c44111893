#include "model/nn/encoder_decoder.h"

#include "model/base/error.h"

namespace skein {

EncoderDecoder::EncoderDecoder(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                               const TensorSharing& sharing)
    : Model(config, sharing) {
    if (config_.kind != ModelKind::kEncoderDecoder)
        throw ConfigError("encoder-decoder: --model.kind is not encoder-decoder");
    const bool pre_norm = config_.norm == NormPlace::kPre;
    Builder builder(stream, config_, sharing_, seed, parameters_);
    Parameter& source = builder.table(config_.share_embeddings ? "token_embedding" : "source_embedding",
                                      config_.source_ids());
    embed_source_.emplace(builder, source, "source_position_embedding");
    encoder_.reserve(static_cast<std::size_t>(config_.encoder_depth()));
    for (std::int64_t layer = 0; layer < config_.encoder_depth(); ++layer)
        encoder_.emplace_back(builder, text("encoder.", layer), false);
    if (pre_norm) encoder_norm_ = builder.norm("encoder.norm");

    Parameter& target =
        config_.share_embeddings ? source : builder.table("target_embedding", config_.vocabulary);
    embed_target_.emplace(builder, target, "target_position_embedding");
    decoder_.reserve(static_cast<std::size_t>(config_.decoder_depth()));
    for (std::int64_t layer = 0; layer < config_.decoder_depth(); ++layer)
        decoder_.emplace_back(builder, text("decoder.", layer));
    if (pre_norm) decoder_norm_ = builder.norm("decoder.norm");
    output_table_ = config_.tie_embeddings ? &target : &builder.head("head", config_.vocabulary);
}

EncodedSource EncoderDecoder::encode(Tape& tape, const Tensor& source, const Tensor& lengths,
                                     const PassContext& pass) const {
    const std::int64_t samples = source.shape()[0], length = source.shape()[1];
    check_shape("encoder", "source lengths", lengths.shape(), {samples});
    if (length > config_.context)
        throw ShapeError(text("encoder: ", length, " source tokens, the context is ", config_.context));
    const kernels::RowPlace place{length, pass.first_sample, 0};
    ResidualStream stream((*embed_source_)(tape, source, place, pass), place, samples * length, sharing_);
    for (const Block& block : encoder_) block(stream, pass, lengths);
    return {stream.finished(encoder_norm_), lengths, length};
}

LossSums EncoderDecoder::loss(Tape& tape, const PairPass& batch, const PassContext& pass,
                              LossOptions options) const {
    const std::int64_t length = batch.target_length();
    check_shape("encoder-decoder", "inputs", batch.inputs.shape(), {batch.samples(), length});
    check_shape("encoder-decoder", "targets", batch.targets.shape(), {batch.samples(), length});
    check_shape("encoder-decoder", "target lengths", batch.target_lengths.shape(), {batch.samples()});
    if (length > config_.context)
        throw ShapeError(
            text("encoder-decoder: ", length, " target tokens, the context is ", config_.context));
    const EncodedSource source = encode(tape, batch.source, batch.source_lengths, pass);
    const kernels::RowPlace place{length, pass.first_sample, 0};
    ResidualStream stream((*embed_target_)(tape, batch.inputs, place, pass), place, batch.samples() * length,
                          sharing_);
    for (const DecoderBlock& block : decoder_) block(stream, source, batch.target_lengths, pass);
    options.length = length;
    return linear_cross_entropy(stream.finished(decoder_norm_), tape.leaf(output_table_->leaf), batch.targets,
                                with_table(options, *output_table_));
}

PairDecodeState EncoderDecoder::start_decoding(Stream& stream, const Tensor& source, const Tensor& lengths,
                                               std::int64_t beams, std::int64_t capacity) const {
    if (beams < 1 || capacity < 1 || capacity > config_.context)
        throw ShapeError(text("encoder-decoder: ", beams, " beams of up to ", capacity,
                              " positions, wanted at least 1 and at most the context of ", config_.context));
    Tape tape(stream, Tape::Mode::kInference);
    const EncodedSource encoded = encode(tape, source, lengths, {});
    PairDecodeState state;
    state.capacity = capacity;
    state.beams = beams;
    state.source_lengths = lengths;
    const Shape shape{state.rows(), capacity, OwnHeads(config_, sharing_).stored_key_value_width()};
    const auto cache = [&] {
        return KeyValueCache{Tensor::zeros(stream, parameters_.forward_dtype(), shape),
                             Tensor::zeros(stream, parameters_.forward_dtype(), shape)};
    };
    for (const DecoderBlock& block : decoder_)
        state.layers.push_back({cache(), block.keys_and_values(encoded)});
    state.spare = cache();
    return state;
}

Tensor EncoderDecoder::decode(Stream& stream, const Tensor& ids, PairDecodeState& state) const {
    check_shape("encoder-decoder", "ids", ids.shape(), {state.rows()});
    if (state.length >= state.capacity)
        throw ShapeError(
            text("encoder-decoder: position ", state.length, " is past the capacity of ", state.capacity));
    Tape tape(stream, Tape::Mode::kInference);
    const kernels::RowPlace place{1, 0, state.length};
    ResidualStream residual((*embed_target_)(tape, ids, place, {}), place, state.rows(), sharing_);
    for (std::size_t layer = 0; layer < decoder_.size(); ++layer)
        decoder_[layer].decode(residual, state.layers[layer], state.length, state.source_lengths);
    ++state.length;
    return logits(stream, residual.finished(decoder_norm_).value(), *output_table_);
}

}  // namespace skein
