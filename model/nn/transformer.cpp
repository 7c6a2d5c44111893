#include "model/nn/transformer.h"

#include "model/base/error.h"
#include "model/tensor/memory.h"

namespace skein {

Transformer::Transformer(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                         const TensorSharing& sharing)
    : Model(config, sharing) {
    if (config_.kind != ModelKind::kDecoder) throw ConfigError("transformer: --model.kind is not decoder");
    Builder builder(stream, config_, sharing_, seed, parameters_);
    Parameter& tokens = builder.table("token_embedding", config_.vocabulary);
    embed_.emplace(builder, tokens, "position_embedding");
    blocks_.reserve(static_cast<std::size_t>(config_.layers));
    for (std::int64_t layer = 0; layer < config_.layers; ++layer)
        blocks_.emplace_back(builder, text("decoder.", layer), true);
    if (config_.norm == NormPlace::kPre) final_norm_ = builder.norm("decoder.norm");
    output_table_ = config_.tie_embeddings ? &tokens : &builder.head("head", config_.vocabulary);
}

LossSums Transformer::loss(Tape& tape, const TokenPass& batch, const PassContext& pass,
                           LossOptions options) const {
    if (batch.length() > config_.context)
        throw ShapeError(text("transformer: ", batch.length(), " tokens, the context is ", config_.context));
    const kernels::RowPlace place{batch.length(), pass.first_sample, 0};
    const std::int64_t rows = batch.samples() * batch.length();
    ResidualStream stream((*embed_)(tape, batch.ids, place, pass), place, rows, sharing_);
    for (const Block& block : blocks_) block(stream, pass);
    options.length = batch.length();
    return linear_cross_entropy(stream.finished(final_norm_), tape.leaf(output_table_->leaf), batch.targets,
                                with_table(options, *output_table_));
}

DecodeState Transformer::start_decoding(Stream& stream, std::int64_t samples, std::int64_t context) const {
    DecodeState state;
    const Shape shape{samples, context, OwnHeads(config_, sharing_).stored_key_value_width()};
    for (std::size_t layer = 0; layer < blocks_.size(); ++layer)
        state.layers.push_back({Tensor::zeros(stream, parameters_.forward_dtype(), shape),
                                Tensor::zeros(stream, parameters_.forward_dtype(), shape)});
    return state;
}

Tensor Transformer::decode(Stream& stream, const Tensor& ids, DecodeState& state) const {
    const std::int64_t samples = ids.shape()[0], length = ids.shape()[1], width = config_.width;
    const std::int64_t capacity = state.layers.empty() ? config_.context : state.layers[0].keys.shape()[1];
    if (state.length + length > capacity)
        throw ShapeError(
            text("transformer: position ", state.length + length - 1, " is past the context of ", capacity));
    Tape tape(stream, Tape::Mode::kInference);
    const kernels::RowPlace place{length, 0, state.length};
    ResidualStream residual((*embed_)(tape, ids, place, {}), place, samples * length, sharing_);
    for (std::size_t layer = 0; layer < blocks_.size(); ++layer)
        blocks_[layer].decode(residual, state.layers[layer], state.length, samples);
    state.length += length;
    const Tensor hidden = residual.finished(final_norm_).value();

    const Tensor last = Tensor::empty(stream, hidden.dtype(), {samples, width});
    const std::size_t row = static_cast<std::size_t>(width) * size_of(hidden.dtype());
    const auto positions = static_cast<std::size_t>(length);
    stream.run([&](auto& s) {
        copy_rows(s, hidden.raw() + (positions - 1) * row, positions * row, last.raw(), row, row,
                  static_cast<std::size_t>(samples));
    });
    return logits(stream, last, *output_table_);
}

}  // namespace skein
