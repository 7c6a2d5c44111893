// The whole model against a Transformer of fp64 scalars, whose gradient is checked against finite
// differences.
#include "tests/model/nn/model_gradient.h"
#include "tests/model/nn/small_model.h"

namespace skein::test {
namespace {

struct Case {
    using Small = SmallModel;

    std::string name;
    ModelConfig config = small_config();
    Tokens inputs{2, 7, 17};
    PassContext context{};
    LossOptions options{};

    fp64::ModelResult reference(const fp64::Parameters& parameters, bool want_gradients) const {
        const fp64::Pass pass{inputs.samples,        inputs.length, inputs.ids,
                              inputs.targets,        context,       options.label_smoothing,
                              options.gradient_scale};
        return fp64::reference_loss(config, parameters, pass, want_gradients);
    }
};

std::vector<Case> cases() {
    std::vector<Case> all;
    const auto add = [&](const std::string& name, const auto& change) {
        Case c{.name = name};
        c.inputs.targets[3] = -1;
        c.inputs.targets[13] = -100;
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
    add_dropout_in_each_place(add);
    add_dropout(add, "everything", &ModelConfig::dropout);
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
        c.inputs = Tokens(2, 24, 71);
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
    const fp64::Parameters parameters = parameters_of(small.stream, small.model.parameters());
    EXPECT_EQ(parameters.at("decoder.0.attention.qkv.weight").size(), 3u * 12 * 12);
    EXPECT_FALSE(parameters.contains("decoder.0.attention.query.weight"));
    ModelConfig grouped = small_config();
    grouped.key_value_heads = 1;
    SmallModel other(grouped);
    EXPECT_EQ(
        parameters_of(other.stream, other.model.parameters()).at("decoder.0.attention.query.weight").size(),
        12u * 12);
    EXPECT_EQ(parameters_of(other.stream, other.model.parameters())
                  .at("decoder.0.attention.key_value.weight")
                  .size(),
              2u * 6 * 12);
}

}  // namespace
}  // namespace skein::test
