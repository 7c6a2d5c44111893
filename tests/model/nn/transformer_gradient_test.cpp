// The whole model against a Transformer of fp64 scalars, whose gradient is checked against finite
// differences.
#include <cmath>

#include "tests/model/nn/small_model.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_model.h"

namespace skein::test {
namespace {

struct Case {
    std::string name;
    ModelConfig config = small_config();
    Tokens tokens{2, 7, 17};
    PassContext context{};
    LossOptions options{};
};

fp64::Parameters parameters_of(const Transformer& model) {
    fp64::Parameters out;
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
        const auto values = model.parameters()[i].leaf.value.span<float>();
        out[model.parameters()[i].name].assign(values.begin(), values.end());
    }
    return out;
}

fp64::Pass pass_of(const Case& c) {
    return {c.tokens.samples,          c.tokens.length,         c.tokens.ids, c.tokens.targets, c.context,
            c.options.label_smoothing, c.options.gradient_scale};
}

/// Loss and every gradient agree with fp64. The model makes some twenty fp32 roundings on a value's way
/// through, on sums of up to 40 terms: 1e-5 of a tensor's typical gradient is some 100 ulp; 3e-6 was the
/// largest seen.
void expect_matches_reference(const Case& c) {
    SCOPED_TRACE(c.name);
    SmallModel small(c.config);
    const fp64::ModelResult wanted =
        fp64::reference_loss(c.config, parameters_of(small.model), pass_of(c), true);
    for (const double passes : {1.0, 2.0}) {  // written over first, then added to
        const SmallModel::Sums found = small.forward_backward(c.tokens, c.context, c.options);
        for (std::int64_t sample = 0; sample < c.tokens.samples; ++sample) {
            EXPECT_NEAR(at(found.loss, sample), at(wanted.loss, sample), 2e-6 * at(wanted.loss, sample));
            EXPECT_NEAR(at(found.nll, sample), at(wanted.nll, sample), 2e-6 * at(wanted.nll, sample));
            EXPECT_EQ(at(found.correct, sample), at(wanted.correct, sample));
        }
        const auto gradients = small.gradients();
        ASSERT_EQ(gradients.size(), wanted.gradients.size());
        for (const auto& [name, gradient] : gradients) {
            std::vector<double> reference = wanted.gradients.at(name);
            for (double& value : reference) value *= passes;
            expect_close(gradient, reference, 1e-5, name);
        }
    }
}

/// Along a random direction in each parameter, the reference's gradient is the central difference. In fp64
/// with a step of 1e-5 that is good to about 1e-9 of the loss; ReLU's kink is the reason for the rest.
void expect_reference_matches_finite_differences(const Case& c) {
    SCOPED_TRACE(c.name);
    const SmallModel small(c.config);
    const fp64::Parameters parameters = parameters_of(small.model);
    const fp64::ModelResult result = fp64::reference_loss(c.config, parameters, pass_of(c), true);
    for (const auto& [name, values] : parameters) {
        const std::vector<float> direction = random_floats(count(values), 77);
        double slope = 0.0;
        for (std::int64_t i = 0; i < count(values); ++i)
            slope += at(result.gradients.at(name), i) * static_cast<double>(at(direction, i));
        const auto loss_at = [&](double step) {
            fp64::Parameters moved = parameters;
            for (std::int64_t i = 0; i < count(values); ++i)
                at(moved[name], i) += step * static_cast<double>(at(direction, i));
            return fp64::reference_loss(c.config, moved, pass_of(c), false).total;
        };
        EXPECT_NEAR(slope, (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-6 * std::max(1.0, std::abs(slope)))
            << name;
    }
}

std::vector<Case> cases() {
    std::vector<Case> all;
    const auto add = [&](const std::string& name, const auto& change) {
        Case c{.name = name};
        c.tokens.targets[3] = -1;
        c.tokens.targets[13] = -100;
        c.options.gradient_scale = 1.0 / 12;
        change(c);
        all.push_back(c);
    };
    add("gpt", [](Case&) {});
    add("without biases", [](Case& c) { c.config.bias = false; });
    add("untied", [](Case& c) { c.config.tie_embeddings = false; });
    add("relu", [](Case& c) { c.config.activation = ActivationKind::kRelu; });
    add("post-norm", [](Case& c) { c.config.norm = NormPlace::kPost; });
    add("sinusoids", [](Case& c) { c.config.position = PositionKind::kSinusoidal; });
    add("no positions", [](Case& c) { c.config.position = PositionKind::kNone; });
    add("two key-value heads of four", [](Case& c) { c.config.heads = 4, c.config.key_value_heads = 2; });
    add("one key-value head, no biases",
        [](Case& c) { c.config.heads = 3, c.config.key_value_heads = 1, c.config.bias = false; });
    add("label smoothing", [](Case& c) { c.options.label_smoothing = 0.1; });
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
    add_dropout("everything", &ModelConfig::dropout);
    add("dropout when not training", [](Case& c) { c.config.dropout = 0.5; });
    add("everything else at once", [](Case& c) {
        c.config.norm = NormPlace::kPost;
        c.config.position = PositionKind::kSinusoidal;
        c.config.activation = ActivationKind::kRelu;
        c.config.tie_embeddings = false;
        c.config.heads = 4, c.config.key_value_heads = 2;
        c.config.dropout = 0.2;
        c.options.label_smoothing = 0.1;
        c.context = {.seed = 3, .step = std::uint64_t{1} << 40, .first_sample = 1000, .training = true};
    });
    add("wider and longer", [](Case& c) {
        c.config.layers = 1, c.config.width = 40, c.config.feed_forward = 0, c.config.context = 24;
        c.config.dropout = 0.1;
        c.config.vocabulary = 71;
        c.tokens = Tokens(2, 24, 71);
        c.context.training = true;
    });
    return all;
}

TEST(TransformerGradient, OfTheFp64ReferenceMatchesFiniteDifferences) {
    for (const Case& c : cases()) expect_reference_matches_finite_differences(c);
}

TEST(TransformerGradient, MatchesTheFp64ReferenceForEveryParameterAndConfiguration) {
    for (const Case& c : cases()) expect_matches_reference(c);
}

TEST(TransformerGradient, ProjectionsArePackedUnlessKeyValueHeadsAreFewer) {
    SmallModel small(small_config());
    const fp64::Parameters parameters = parameters_of(small.model);
    EXPECT_EQ(parameters.at("decoder.0.attention.qkv.weight").size(), 3u * 12 * 12);
    EXPECT_FALSE(parameters.contains("decoder.0.attention.query.weight"));
    ModelConfig grouped = small_config();
    grouped.key_value_heads = 1;
    const SmallModel other(grouped);
    EXPECT_EQ(parameters_of(other.model).at("decoder.0.attention.query.weight").size(), 12u * 12);
    EXPECT_EQ(parameters_of(other.model).at("decoder.0.attention.key_value.weight").size(), 2u * 6 * 12);
}

}  // namespace
}  // namespace skein::test
