#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/kernels/cross_entropy.h"
#include "model/nn/transformer.h"
#include "tests/support/random_values.h"
#include "tests/support/test_device.h"

namespace skein::test {

/// Two layers of width 12: an odd head width, and rows that are no multiple of eight.
inline ModelConfig small_config() {
    ModelConfig config;
    config.layers = 2;
    config.heads = 2;
    config.width = 12;
    config.feed_forward = 20;
    config.context = 9;
    config.vocabulary = 17;
    return config;
}

/// Expects that `config` is good, and that with `change` it is refused in one line that has `piece`.
template <class Change>
void expect_config_refused(ModelConfig config, const Change& change, const std::string& piece) {
    EXPECT_NO_THROW(validate(config));
    change(config);
    try {
        validate(config);
        ADD_FAILURE() << "accepted a bad " << piece;
    } catch (const ConfigError& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find(piece), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
}

/// What one pass reads, on the host.
struct Tokens {
    std::int64_t samples = 2, length = 7;
    std::vector<std::int32_t> ids, targets;

    Tokens(std::int64_t sample_count, std::int64_t sample_length, std::int64_t vocabulary,
           std::uint32_t seed = 1)
        : samples(sample_count),
          length(sample_length),
          ids(random_ids(samples * length, static_cast<std::int32_t>(vocabulary), seed)),
          targets(random_ids(samples * length, static_cast<std::int32_t>(vocabulary), seed + 1)) {}

    /// Samples [first, last).
    Tokens slice(std::int64_t first, std::int64_t last) const {
        Tokens out = *this;
        out.samples = last - first;
        out.ids.assign(ids.begin() + first * length, ids.begin() + last * length);
        out.targets.assign(targets.begin() + first * length, targets.begin() + last * length);
        return out;
    }
    TokenPass on(Stream& stream) const {
        return {Tensor::from<std::int32_t>(stream, {samples, length}, ids),
                Tensor::from<std::int32_t>(stream, {samples, length}, targets)};
    }
};

using NamedGradients = std::vector<std::pair<std::string, std::vector<float>>>;

/// Makes parameters random and large enough for every one to matter: N(0, 0.3), norms about 1; and gives them
/// gradients.
inline void randomize(Stream& stream, ParameterList& parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        Parameter& parameter = parameters[i];
        const bool gamma = parameter.name.find("norm.weight") != std::string::npos;
        const auto values = random_floats(parameter.leaf.value.elements(),
                                          1000 + static_cast<std::uint32_t>(i), 0.3f, gamma ? 1.0f : 0.0f);
        assign(stream, parameter.leaf.value, values);
        parameter.leaf.gradient =
            filled(stream, parameter.leaf.value.shape(), 1e30f);  // stale: must be written over
    }
}

inline void clear_gradients(ParameterList& parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].leaf.accumulate = false;
}

/// All parameters' gradients, by name.
inline NamedGradients gradients_of(Stream& stream, const ParameterList& parameters) {
    NamedGradients all;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_TRUE(parameters[i].leaf.accumulate) << parameters[i].name << " has no gradient";
        all.emplace_back(parameters[i].name, floats_of(stream, parameters[i].leaf.gradient));
    }
    return all;
}

/// The same losses, computed beside other rows (see row_tolerance).
inline void expect_alike(Stream& stream, const std::vector<double>& found, const std::vector<double>& wanted,
                         DType dtype = DType::f32) {
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t i = 0; i < found.size(); ++i)
        EXPECT_NEAR(found[i], wanted[i], row_tolerance(stream, dtype) * wanted[i]) << "element " << i;
}

/// -log p of each row's target under its logits, and whether it is the likeliest.
struct RowLosses {
    std::vector<double> nll;
    std::vector<std::int64_t> correct;
};
inline RowLosses losses_of_rows(Stream& stream, const Tensor& logits,
                                const std::vector<std::int32_t>& targets) {
    const std::int64_t rows = logits.shape()[0];
    const Tensor wanted = Tensor::from<std::int32_t>(stream, {rows}, targets),
                 loss = Tensor::empty(stream, DType::f64, {rows}),
                 nll = Tensor::empty(stream, DType::f64, {rows}),
                 correct = Tensor::empty(stream, DType::i64, {rows});
    kernels::CrossEntropyArgs args{.rows = rows, .vocabulary = logits.shape()[1]};
    args.logits = logits.data<float>();
    args.targets = wanted.data<std::int32_t>();
    args.loss = loss.data<double>();
    args.nll = nll.data<double>();
    args.correct = correct.data<std::int64_t>();
    stream.run([&](auto& s) { kernels::cross_entropy(s, args); });
    return {values_of<double>(stream, nll), values_of<std::int64_t>(stream, correct)};
}

/// A decoder-only model with random parameters, computing in `dtype`.
struct SmallModel {
    Stream stream;
    Transformer model;

    explicit SmallModel(const ModelConfig& config, int threads = 1, DType dtype = DType::f32,
                        const std::optional<Gpu>& gpu = test_gpu())
        : stream(gpu, threads), model(stream, config, 42) {
        randomize(stream, model.parameters());
        model.parameters().keep_copies(stream, dtype);
    }

    struct Sums {
        std::vector<double> loss, nll;
        std::vector<std::int64_t> correct;
        friend bool operator==(const Sums&, const Sums&) = default;
    };
    static Sums sums_of(Stream& stream, const LossSums& sums) {
        return {values_of<double>(stream, sums.loss), values_of<double>(stream, sums.nll),
                values_of<std::int64_t>(stream, sums.correct)};
    }

    Sums run(Tape& tape, const Tokens& tokens, const PassContext& pass = {},
             const LossOptions& options = {}) {
        const LossSums sums = model.loss(tape, tokens.on(stream), pass, options);
        if (tape.records()) tape.backward(sums.root);
        return sums_of(stream, sums);
    }
    Sums forward(const Tokens& tokens, const PassContext& pass = {}, const LossOptions& options = {}) {
        Tape tape(stream, Tape::Mode::kInference);
        return run(tape, tokens, pass, options);
    }
    /// Adds to the gradients of the passes before.
    Sums forward_backward(const Tokens& tokens, const PassContext& pass = {},
                          const LossOptions& options = {}) {
        Tape tape(stream);
        return run(tape, tokens, pass, options);
    }
    void clear_gradients() { test::clear_gradients(model.parameters()); }
    NamedGradients gradients() { return gradients_of(stream, model.parameters()); }
};

}  // namespace skein::test
