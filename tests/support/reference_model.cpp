#include "tests/support/reference_model.h"

#include <string>

#include "tests/support/reference_layers.h"

namespace skein::fp64 {

ModelResult reference_loss(const ModelConfig& config, const Parameters& parameters, const Pass& pass,
                           bool want_gradients) {
    Layers layers(config, parameters, pass.context, want_gradients);
    const Place place{pass.length, pass.context.first_sample, 0};
    Matrix x = layers.embed("token_embedding.weight", "position_embedding.weight", pass.ids,
                            config.position == PositionKind::kSinusoidal, place, 0);
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
        x = layers.block(x, "decoder." + std::to_string(layer) + ".", true, place,
                         static_cast<std::uint32_t>(1 + 4 * layer));
    if (layers.pre_norm()) x = layers.norm(x, "decoder.norm");

    ModelResult result;
    Scalar total;
    for (std::int64_t sample = 0; sample < pass.samples; ++sample)
        layers.add_loss(x, sample * pass.length,
                        std::span(pass.targets)
                            .subspan(static_cast<std::size_t>(sample * pass.length),
                                     static_cast<std::size_t>(pass.length)),
                        config.tie_embeddings ? "token_embedding.weight" : "head.weight",
                        pass.label_smoothing, pass.gradient_scale, total, result);
    result.total = total.value();
    if (want_gradients) layers.add_gradients(total, result);
    return result;
}

ModelResult reference_pair_loss(const ModelConfig& config, const Parameters& parameters,
                                const PairSamples& pass, bool want_gradients) {
    Layers layers(config, parameters, pass.context, want_gradients);
    const std::string source_table =
        config.share_embeddings ? "token_embedding.weight" : "source_embedding.weight";
    const std::string target_table =
        config.share_embeddings ? "token_embedding.weight" : "target_embedding.weight";
    ModelResult result;
    Scalar total;
    for (std::size_t sample = 0; sample < pass.sources.size(); ++sample) {
        const auto number = pass.context.first_sample + static_cast<std::int64_t>(sample);
        std::uint32_t site = 0;
        const Place source_place{static_cast<std::int64_t>(pass.sources[sample].size()), number, 0};
        Matrix source = layers.embed(source_table, "source_position_embedding.weight", pass.sources[sample],
                                     true, source_place, site++);
        for (std::int64_t layer = 0; layer < config.encoder_depth(); ++layer, site += 4)
            source =
                layers.block(source, "encoder." + std::to_string(layer) + ".", false, source_place, site);
        if (layers.pre_norm()) source = layers.norm(source, "encoder.norm");

        const Place place{static_cast<std::int64_t>(pass.inputs[sample].size()), number, 0};
        Matrix x = layers.embed(target_table, "target_position_embedding.weight", pass.inputs[sample], true,
                                place, site++);
        for (std::int64_t layer = 0; layer < config.decoder_depth(); ++layer, site += 6) {
            const std::string name = "decoder." + std::to_string(layer) + ".";
            x = layers.residual(x, name + "attention_norm", site + 1, place, [&](const Matrix& y) {
                return layers.attend(y, nullptr, name + "attention", true, place, site);
            });
            x = layers.residual(x, name + "cross_attention_norm", site + 3, place, [&](const Matrix& y) {
                return layers.attend(y, &source, name + "cross_attention", false, place, site + 2);
            });
            x = layers.residual(x, name + "feed_forward_norm", site + 5, place, [&](const Matrix& y) {
                return layers.feed(y, name + "feed_forward", place, site + 4);
            });
        }
        if (layers.pre_norm()) x = layers.norm(x, "decoder.norm");
        layers.add_loss(x, 0, pass.targets[sample], config.tie_embeddings ? target_table : "head.weight",
                        pass.label_smoothing, pass.gradient_scale, total, result);
    }
    result.total = total.value();
    if (want_gradients) layers.add_gradients(total, result);
    return result;
}

}  // namespace skein::fp64
