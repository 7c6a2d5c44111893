// The whole encoder-decoder, on padded batches, against a Transformer of fp64 scalars that reads one pair at
// a time and knows no padding; its gradient is checked against finite differences.
#include <cmath>

#include "tests/model/nn/small_pair_model.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_model.h"

namespace skein::test {
namespace {

struct Case {
    std::string name;
    ModelConfig config = small_pair_config();
    Pairs pairs{{{4, 6}, {7, 3}, {1, 1}}, 17};
    PassContext context{};
    LossOptions options{.gradient_scale = 0.1};
};

fp64::Parameters parameters_of(const EncoderDecoder& model) {
    fp64::Parameters out;
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
        const auto values = model.parameters()[i].leaf.value.span<float>();
        out[model.parameters()[i].name].assign(values.begin(), values.end());
    }
    return out;
}

fp64::PairSamples pass_of(const Case& c) {
    return {c.pairs.sources,           c.pairs.inputs,          c.pairs.targets, c.context,
            c.options.label_smoothing, c.options.gradient_scale};
}

/// Loss and every gradient agree with fp64; the tolerances are the decoder's (transformer_gradient_test), for
/// about as many roundings in sums as long.
void expect_matches_reference(const Case& c) {
    SCOPED_TRACE(c.name);
    SmallPairModel small(c.config);
    const fp64::ModelResult wanted =
        fp64::reference_pair_loss(c.config, parameters_of(small.model), pass_of(c), true);
    for (const double passes : {1.0, 2.0}) {  // written over first, then added to
        const SmallPairModel::Sums found = small.forward_backward(c.pairs, c.context, c.options);
        for (std::int64_t sample = 0; sample < count(c.pairs.sources); ++sample) {
            EXPECT_NEAR(at(found.loss, sample), at(wanted.loss, sample), 2e-6 * at(wanted.loss, sample));
            EXPECT_NEAR(at(found.nll, sample), at(wanted.nll, sample), 2e-6 * at(wanted.nll, sample));
            EXPECT_EQ(at(found.correct, sample), at(wanted.correct, sample));
        }
        const NamedGradients gradients = small.gradients();
        ASSERT_EQ(gradients.size(), wanted.gradients.size());
        for (const auto& [name, gradient] : gradients) {
            std::vector<double> reference = wanted.gradients.at(name);
            for (double& value : reference) value *= passes;
            expect_close(gradient, reference, 1e-5, name);
        }
    }
}

/// As in transformer_gradient_test: a random direction in each parameter, central differences in fp64.
void expect_reference_matches_finite_differences(const Case& c) {
    SCOPED_TRACE(c.name);
    const SmallPairModel small(c.config);
    const fp64::Parameters parameters = parameters_of(small.model);
    const fp64::ModelResult result = fp64::reference_pair_loss(c.config, parameters, pass_of(c), true);
    for (const auto& [name, values] : parameters) {
        const std::vector<float> direction = random_floats(count(values), 77);
        double slope = 0.0;
        for (std::int64_t i = 0; i < count(values); ++i)
            slope += at(result.gradients.at(name), i) * static_cast<double>(at(direction, i));
        const auto loss_at = [&](double step) {
            fp64::Parameters moved = parameters;
            for (std::int64_t i = 0; i < count(values); ++i)
                at(moved[name], i) += step * static_cast<double>(at(direction, i));
            return fp64::reference_pair_loss(c.config, moved, pass_of(c), false).total;
        };
        EXPECT_NEAR(slope, (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-6 * std::max(1.0, std::abs(slope)))
            << name;
    }
}

std::vector<Case> cases() {
    std::vector<Case> all;
    const auto add = [&](const std::string& name, const auto& change) {
        Case c{.name = name};
        change(c);
        all.push_back(c);
    };
    add("the paper's: post-norm, three-way tied", [](Case& c) { c.options.label_smoothing = 0.1; });
    add("pre-norm", [](Case& c) { c.config.norm = NormPlace::kPre; });
    add("two-way tied, vocabularies of their own", [](Case& c) {
        c.config.share_embeddings = false;
        c.config.vocabulary = 13, c.config.source_vocabulary = 19;
        c.pairs = Pairs({{4, 6}, {7, 3}}, 13);
        c.pairs.sources[1][2] = 18;
    });
    add("not tied", [](Case& c) { c.config.share_embeddings = c.config.tie_embeddings = false; });
    add("joint embeddings, an output of its own", [](Case& c) { c.config.tie_embeddings = false; });
    add("gelu, learned positions, no biases", [](Case& c) {
        c.config.activation = ActivationKind::kGelu;
        c.config.position = PositionKind::kLearned;
        c.config.bias = false;
    });
    add("two key-value heads of four", [](Case& c) { c.config.heads = 4, c.config.key_value_heads = 2; });
    add("more padding than any pair needs", [](Case& c) {
        c.pairs.padding = 5, c.pairs.more_source_padding = 2, c.pairs.more_target_padding = 3;
    });
    const auto add_dropout = [&](const std::string& name, double ModelConfig::*site) {
        add("dropout of " + name, [&](Case& c) {
            c.config.*site = 0.3;
            c.context = {.seed = 99, .step = 12, .first_sample = 5, .training = true};
        });
    };
    add_dropout("embeddings", &ModelConfig::dropout_embedding);
    add_dropout("sublayers", &ModelConfig::dropout_residual);
    add_dropout("attention", &ModelConfig::dropout_attention);
    add_dropout("the feed-forward", &ModelConfig::dropout_feed_forward);
    add("everything at once, pre-norm", [](Case& c) {
        c.config.norm = NormPlace::kPre;
        c.config.encoder_layers = 2, c.config.decoder_layers = 3;
        c.config.share_embeddings = false;
        c.config.dropout = 0.2;
        c.options.label_smoothing = 0.1;
        c.pairs.more_target_padding = 1;
        c.context = {.seed = 3, .step = std::uint64_t{1} << 40, .first_sample = 1000, .training = true};
    });
    return all;
}

TEST(EncoderDecoderGradient, OfTheFp64ReferenceMatchesFiniteDifferences) {
    for (const Case& c : cases()) expect_reference_matches_finite_differences(c);
}

TEST(EncoderDecoderGradient, MatchesTheFp64ReferenceForEveryParameterAndConfiguration) {
    for (const Case& c : cases()) expect_matches_reference(c);
}

}  // namespace
}  // namespace skein::test
