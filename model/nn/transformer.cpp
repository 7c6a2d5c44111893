#include "model/nn/transformer.h"

#include <cmath>
#include <cstring>

#include "model/autograd/ops/embedding.h"
#include "model/autograd/ops/matmul.h"
#include "model/base/error.h"

namespace skein {

Tensor sinusoidal_positions(Stream& stream, std::int64_t context, std::int64_t width) {
    const Tensor table = Tensor::empty(stream, DType::f32, {context, width});
    for (std::int64_t position = 0; position < context; ++position)
        for (std::int64_t c = 0; c < width; ++c) {
            const double frequency =
                std::pow(10000.0, -static_cast<double>(c / 2 * 2) / static_cast<double>(width));
            const double angle = static_cast<double>(position) * frequency;
            table.data<float>()[position * width + c] = static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
    return table;
}

Transformer::Transformer(Stream& stream, const ModelConfig& config, std::uint64_t seed) : config_(config) {
    validate(config_);
    if (config_.kind != ModelKind::kDecoder) throw ConfigError("--model.kind: only decoder is implemented");
    Builder builder(stream, config_, seed, parameters_);
    tokens_ = &builder.table("token_embedding", config_.vocabulary);
    if (config_.position == PositionKind::kLearned)
        positions_ = &builder.table("position_embedding", config_.context);
    else if (config_.position == PositionKind::kSinusoidal)
        sinusoids_ = sinusoidal_positions(stream, config_.context, config_.width);
    embedding_dropout_ = builder.dropout(config_.embedding_dropout());
    blocks_.reserve(static_cast<std::size_t>(config_.layers));
    for (std::int64_t layer = 0; layer < config_.layers; ++layer)
        blocks_.emplace_back(builder, text("decoder.", layer), true);
    if (config_.norm == NormPlace::kPre) final_norm_ = builder.norm("decoder.norm");
    if (!config_.tie_embeddings) head_ = &builder.table("head", config_.vocabulary);
}

Var Transformer::embed(Tape& tape, const Tensor& ids, const kernels::RowPlace& place, const PassContext& pass) const {
    Var positions;
    if (positions_)
        positions = tape.leaf(positions_->leaf);
    else if (sinusoids_)
        positions = tape.constant(sinusoids_);
    // Embeddings are multiplied by sqrt(width) where fixed sinusoids are added to them; GPT's learned ones are not.
    const float scale = sinusoids_ ? std::sqrt(static_cast<float>(config_.width)) : 1.0f;
    return embedding(tape.leaf(tokens_->leaf), positions, ids, scale, embedding_dropout_.at(pass), place);
}

LossSums Transformer::loss(Tape& tape, const TokenPass& batch, const PassContext& pass, LossOptions options) const {
    if (batch.length() > config_.context)
        throw ShapeError(text("transformer: ", batch.length(), " tokens, the context is ", config_.context));
    const kernels::RowPlace place{batch.length(), pass.first_sample, 0};
    ResidualStream stream(embed(tape, batch.ids, place, pass), place);
    for (const Block& block : blocks_) block(stream, pass);
    const Var hidden = final_norm_.gamma ? stream.norm(final_norm_) : stream.value();
    options.length = batch.length();
    return linear_cross_entropy(hidden, tape.leaf(output_table().leaf), batch.targets, options);
}

DecodeState Transformer::start_decoding(Stream& stream, std::int64_t samples, std::int64_t context) const {
    DecodeState state;
    const Shape shape{samples, context, config_.kv_heads() * config_.head_width()};
    for (std::size_t layer = 0; layer < blocks_.size(); ++layer)
        state.layers.push_back({Tensor::zeros(stream, DType::f32, shape), Tensor::zeros(stream, DType::f32, shape)});
    return state;
}

Tensor Transformer::decode(Stream& stream, const Tensor& ids, DecodeState& state) const {
    const std::int64_t samples = ids.shape()[0], length = ids.shape()[1], width = config_.width;
    const std::int64_t capacity = state.layers.empty() ? config_.context : state.layers[0].keys.shape()[1];
    if (state.length + length > capacity)
        throw ShapeError(text("transformer: position ", state.length + length - 1, " is past the context of ", capacity));
    Tape tape(stream, Tape::Mode::kInference);
    const kernels::RowPlace place{length, 0, state.length};
    ResidualStream residual(embed(tape, ids, place, {}), place);
    for (std::size_t layer = 0; layer < blocks_.size(); ++layer)
        blocks_[layer].decode(residual, state.layers[layer], state.length, samples);
    state.length += length;
    const Tensor hidden = (final_norm_.gamma ? residual.norm(final_norm_) : residual.value()).value();

    const Tensor last = Tensor::empty(stream, DType::f32, {samples, width});
    for (std::int64_t sample = 0; sample < samples; ++sample)
        std::memcpy(last.data<float>() + sample * width,
                    hidden.data<float>() + (sample * length + length - 1) * width,
                    static_cast<std::size_t>(width) * sizeof(float));
    const Tensor logits = Tensor::empty(stream, DType::f32, {samples, config_.vocabulary});
    matmul(stream, {.b_transposed = true}, last, output_table().leaf.value, logits);
    return logits;
}

}  // namespace skein
