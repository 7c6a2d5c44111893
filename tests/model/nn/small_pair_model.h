#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "model/nn/encoder_decoder.h"
#include "tests/model/nn/small_model.h"

namespace skein::test {

inline ModelConfig small_pair_config() {
    ModelConfig config = small_config();
    config.kind = ModelKind::kEncoderDecoder;
    config.norm = NormPlace::kPost;
    config.position = PositionKind::kSinusoidal;
    config.activation = ActivationKind::kRelu;
    config.encoder_layers = 1;
    return config;
}

/// Sentence pairs on the host: a source, and a target as it is read and as it is wanted.
struct Pairs {
    std::vector<std::vector<std::int32_t>> sources, inputs, targets;
    std::int32_t padding = 0;              ///< the id that padded places get
    std::int64_t more_source_padding = 0;  ///< beyond the longest
    std::int64_t more_target_padding = 0;

    Pairs() = default;
    Pairs(const std::vector<std::pair<int, int>>& lengths, std::int64_t vocabulary, std::uint32_t seed = 1) {
        const auto bound = static_cast<std::int32_t>(vocabulary);
        for (const auto& [source, target] : lengths) {
            sources.push_back(random_ids(source, bound, ++seed));
            inputs.push_back(random_ids(target, bound, ++seed));
            targets.push_back(random_ids(target, bound, ++seed));
        }
    }
    Pairs slice(std::size_t first, std::size_t last) const {
        Pairs out = *this;
        const auto cut = [&](auto& all) {
            all = {all.begin() + static_cast<std::ptrdiff_t>(first),
                   all.begin() + static_cast<std::ptrdiff_t>(last)};
        };
        cut(out.sources), cut(out.inputs), cut(out.targets);
        return out;
    }
    PairPass on(Stream& stream) const {
        PairPass pass;
        std::tie(pass.source, pass.source_lengths) = padded(stream, sources, padding, more_source_padding);
        std::tie(pass.inputs, pass.target_lengths) = padded(stream, inputs, padding, more_target_padding);
        pass.targets = padded(stream, targets, -1, more_target_padding).first;
        return pass;
    }

  private:
    static std::pair<Tensor, Tensor> padded(Stream& stream,
                                            const std::vector<std::vector<std::int32_t>>& rows,
                                            std::int32_t with, std::int64_t more) {
        std::size_t longest = 1;
        std::vector<std::int32_t> lengths, values;
        for (const auto& row : rows) {
            longest = std::max(longest, row.size());
            lengths.push_back(static_cast<std::int32_t>(row.size()));
        }
        longest += static_cast<std::size_t>(more);
        for (const auto& row : rows) {
            values.insert(values.end(), row.begin(), row.end());
            values.insert(values.end(), longest - row.size(), with);
        }
        return {Tensor::from<std::int32_t>(stream, {count(rows), static_cast<std::int64_t>(longest)}, values),
                Tensor::from<std::int32_t>(stream, {count(rows)}, lengths)};
    }
};

/// An encoder-decoder with random parameters that all matter, as SmallModel has them.
struct SmallPairModel {
    using Sums = SmallModel::Sums;

    Stream stream;
    EncoderDecoder model;

    explicit SmallPairModel(const ModelConfig& config, int threads = 1, DType dtype = DType::f32,
                            const std::optional<Gpu>& gpu = test_gpu())
        : stream(gpu, threads), model(stream, config, 42) {
        randomize(stream, model.parameters());
        model.parameters().keep_copies(stream, dtype);
    }
    Sums run(Tape& tape, const Pairs& pairs, const PassContext& pass = {}, const LossOptions& options = {}) {
        const LossSums sums = model.loss(tape, pairs.on(stream), pass, options);
        if (tape.records()) tape.backward(sums.root);
        return SmallModel::sums_of(stream, sums);
    }
    Sums forward(const Pairs& pairs, const PassContext& pass = {}, const LossOptions& options = {}) {
        Tape tape(stream, Tape::Mode::kInference);
        return run(tape, pairs, pass, options);
    }
    /// Adds to the gradients of the passes before.
    Sums forward_backward(const Pairs& pairs, const PassContext& pass = {}, const LossOptions& options = {}) {
        Tape tape(stream);
        return run(tape, pairs, pass, options);
    }
    void clear_gradients() { test::clear_gradients(model.parameters()); }
    NamedGradients gradients() { return gradients_of(stream, model.parameters()); }
};

}  // namespace skein::test
