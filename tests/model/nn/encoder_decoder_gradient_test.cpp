// The whole encoder-decoder, on padded batches, against a Transformer of fp64 scalars that reads one pair at
// a time and knows no padding; its gradient is checked against finite differences.
#include "tests/model/nn/model_gradient.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein::test {
namespace {

struct Case {
    using Small = SmallPairModel;

    std::string name;
    ModelConfig config = small_pair_config();
    Pairs inputs{{{4, 6}, {7, 3}, {1, 1}}, 17};
    PassContext context{};
    LossOptions options{.gradient_scale = 0.1};

    fp64::ModelResult reference(const fp64::Parameters& parameters, bool want_gradients) const {
        const fp64::PairSamples pass{inputs.sources, inputs.inputs,           inputs.targets,
                                     context,        options.label_smoothing, options.gradient_scale};
        return fp64::reference_pair_loss(config, parameters, pass, want_gradients);
    }
};

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
        c.inputs = Pairs({{4, 6}, {7, 3}}, 13);
        c.inputs.sources[1][2] = 18;
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
        c.inputs.padding = 5, c.inputs.more_source_padding = 2, c.inputs.more_target_padding = 3;
    });
    add_dropout_in_each_place(add);
    add("everything at once, pre-norm", [](Case& c) {
        c.config.norm = NormPlace::kPre;
        c.config.encoder_layers = 2, c.config.decoder_layers = 3;
        c.config.share_embeddings = false;
        c.config.dropout = 0.2;
        c.options.label_smoothing = 0.1;
        c.inputs.more_target_padding = 1;
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
