#include "model/nn/input_embedding.h"

#include <cmath>
#include <vector>

#include "model/autograd/ops/embedding.h"

namespace skein {

Tensor sinusoidal_positions(Stream& stream, std::int64_t context, std::int64_t width) {
    std::vector<float> table;
    table.reserve(static_cast<std::size_t>(context * width));
    for (std::int64_t position = 0; position < context; ++position)
        for (std::int64_t c = 0; c < width; ++c) {
            const double frequency =
                std::pow(10000.0, -static_cast<double>(c / 2 * 2) / static_cast<double>(width));
            const double angle = static_cast<double>(position) * frequency;
            table.push_back(static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle)));
        }
    return Tensor::from<float>(stream, {context, width}, table);
}

InputEmbedding::InputEmbedding(Builder& builder, Parameter& tokens, const std::string& positions)
    : tokens_(&tokens), sharing_(builder.sharing()) {
    const ModelConfig& config = builder.config();
    if (config.position == PositionKind::kLearned)
        positions_ = &builder.positions(positions, config.context);
    else if (config.position == PositionKind::kSinusoidal)
        sinusoids_ = sinusoidal_positions(builder.stream(), config.context, config.width);
    if (sinusoids_ || config.kind == ModelKind::kEncoderDecoder)
        scale_ = std::sqrt(static_cast<float>(config.width));
    dropout_ = builder.dropout(config.embedding_dropout());
}

Var InputEmbedding::operator()(Tape& tape, const Tensor& ids, const kernels::RowPlace& place,
                               const PassContext& pass) const {
    Var positions;
    if (positions_)
        positions = tape.leaf(positions_->leaf);
    else if (sinusoids_)
        positions = tape.constant(sinusoids_);
    // the rank that has a token's row gives all of what is made of it, the others zeros
    const TableIds of_table{tokens_->layout.begin(tokens_->global_shape), tokens_->global_shape[0]};
    return sharing_.leave(
        embedding(tape.leaf(tokens_->leaf), positions, ids, scale_, dropout_.at(pass), place, of_table));
}

}  // namespace skein
