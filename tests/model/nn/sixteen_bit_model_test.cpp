// Both models in bf16 and fp16: gradients against fp64, and the promises that fp32 keeps.
#include <cmath>

#include "model/base/error.h"
#include "tests/model/nn/model_gradient.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein::test {
namespace {

const DType kBoth[] = {DType::bf16, DType::f16};

/// Parameters as forward reads them: rounded, so that what is left to differ is what the pass itself rounds.
fp64::Parameters rounded_parameters(Stream& stream, const ParameterList& parameters, DType dtype) {
    fp64::Parameters out = parameters_of(stream, parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i)
        if (!parameters[i].name.ends_with("bias") && parameters[i].name.find("norm") == std::string::npos)
            for (double& value : out[parameters[i].name]) {
                const auto x = static_cast<float>(value);
                value =
                    static_cast<double>(dtype == DType::bf16 ? to_float(to_bf16(x)) : to_float(to_f16(x)));
            }
    return out;
}

/// Root of the sum of squared differences, by that of the wanted values.
double relative_error(const std::vector<float>& found, const std::vector<double>& wanted) {
    double difference = 0.0, size = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        difference += std::pow(static_cast<double>(found[i]) - wanted[i], 2);
        size += wanted[i] * wanted[i];
    }
    return std::sqrt(difference / size);
}

/// A value is rounded some ten times a layer on its way forward, as often on the way back, each time by at
/// most u = 2^-8 (bf16) or 2^-11 (fp16) of itself: as independent errors, 40 of u / sqrt(3) each are 3.7 u in
/// all, and norms and softmax make them some times larger. 12 u of a tensor's gradient are allowed, and of
/// its loss 2 u; fp16 has to be eight times as close as bf16, which no error in a formula would be. A GPU
/// rounds probabilities (twice) and their gradient in each of up to five attentions: 55 errors for 40, so 14
/// u.
template <class Small, class Inputs, class Reference>
void expect_close_to_fp64(const ModelConfig& config, const Inputs& inputs, const PassContext& context,
                          const LossOptions& options, const Reference& reference) {
    for (const DType dtype : kBoth) {
        SCOPED_TRACE(name_of(dtype));
        const double unit = dtype == DType::bf16 ? 0x1p-8 : 0x1p-11;
        Small small(config, 1, dtype);
        const fp64::ModelResult wanted =
            reference(rounded_parameters(small.stream, small.model.parameters(), dtype));
        const auto found = small.forward_backward(inputs, context, options);
        for (std::int64_t sample = 0; sample < count(wanted.loss); ++sample)
            EXPECT_NEAR(at(found.loss, sample), at(wanted.loss, sample),
                        2.0 * unit * at(wanted.loss, sample));
        for (const auto& [name, gradient] : small.gradients())
            EXPECT_LT(relative_error(gradient, wanted.gradients.at(name)), (test_gpu() ? 14.0 : 12.0) * unit)
                << name;
    }
}

TEST(SixteenBitModel, DecodersGradientsAreThoseOfFp64ToRounding) {
    ModelConfig post = small_config();
    post.norm = NormPlace::kPost, post.position = PositionKind::kSinusoidal;
    post.activation = ActivationKind::kRelu, post.tie_embeddings = false;
    ModelConfig grouped = small_config();
    grouped.heads = 4, grouped.key_value_heads = 2, grouped.dropout = 0.2;
    for (const ModelConfig& config : {small_config(), post, grouped}) {
        Tokens tokens(2, 7, 17);
        tokens.targets[3] = -1;
        const PassContext context{.seed = 3, .step = 4, .first_sample = 8, .training = true};
        const LossOptions options{.label_smoothing = 0.1, .gradient_scale = 1.0 / 12};
        expect_close_to_fp64<SmallModel>(
            config, tokens, context, options, [&](const fp64::Parameters& parameters) {
                return fp64::reference_loss(config, parameters,
                                            {tokens.samples, tokens.length, tokens.ids, tokens.targets,
                                             context, options.label_smoothing, options.gradient_scale},
                                            true);
            });
    }
}

TEST(SixteenBitModel, EncoderDecodersGradientsAreThoseOfFp64ToRounding) {
    ModelConfig pre = small_pair_config();
    pre.norm = NormPlace::kPre, pre.activation = ActivationKind::kGelu, pre.dropout = 0.2;
    for (const ModelConfig& config : {small_pair_config(), pre}) {
        const Pairs pairs({{4, 6}, {7, 3}, {1, 1}}, 17);
        const PassContext context{.seed = 3, .step = 4, .first_sample = 8, .training = true};
        const LossOptions options{.label_smoothing = 0.1, .gradient_scale = 0.1};
        expect_close_to_fp64<SmallPairModel>(
            config, pairs, context, options, [&](const fp64::Parameters& parameters) {
                return fp64::reference_pair_loss(config, parameters,
                                                 {pairs.sources, pairs.inputs, pairs.targets, context,
                                                  options.label_smoothing, options.gradient_scale},
                                                 true);
            });
    }
}

TEST(SixteenBitModel, GradientsAreTheSameBitsForAnyNumberOfThreads) {
    ModelConfig config = small_config();
    config.width = 72, config.heads = 3, config.feed_forward = 150, config.context = 160,
    config.vocabulary = 203, config.dropout = 0.1;
    const Tokens tokens(3, 150, config.vocabulary);
    const PassContext pass{.seed = 3, .step = 4, .first_sample = 8, .training = true};
    for (const DType dtype : kBoth) {
        SmallModel one(config, 1, dtype), other(config, 3, dtype);
        EXPECT_EQ(other.forward_backward(tokens, pass), one.forward_backward(tokens, pass));
        EXPECT_EQ(other.gradients(), one.gradients());
    }
}

TEST(SixteenBitModel, OnlyMatricesAndTablesHaveCopiesAndThesePastTheValuesAreRefreshed) {
    SmallModel small(small_config(), 1, DType::bf16);
    ParameterList& parameters = small.model.parameters();
    EXPECT_EQ(parameters.forward_dtype(), DType::bf16);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Leaf& leaf = parameters[i].leaf;
        EXPECT_EQ(leaf.value.dtype(), DType::f32);
        EXPECT_EQ(static_cast<bool>(leaf.copy), !parameters[i].name.ends_with("bias") &&
                                                    parameters[i].name.find("norm") == std::string::npos)
            << parameters[i].name;
        EXPECT_EQ(leaf.forward_value().dtype(), leaf.copy ? DType::bf16 : DType::f32);
    }
    const Tokens tokens(2, 7, 17);
    const SmallModel::Sums before = small.forward(tokens);
    std::vector<float> values = floats_of(small.stream, parameters[0].leaf.value);
    for (float& value : values) value *= 1.5f;
    assign(small.stream, parameters[0].leaf.value, values);
    EXPECT_EQ(small.forward(tokens), before) << "forward reads the copies";
    parameters.refresh_copies(small.stream);
    const SmallModel::Sums after = small.forward(tokens);
    EXPECT_NE(after, before);
    parameters.keep_copies(small.stream, DType::f32);
    const SmallModel::Sums exact = small.forward(tokens);
    EXPECT_NE(exact, after);
    EXPECT_EQ(small.model.start_decoding(small.stream, 1, 4).layers[0].keys.dtype(), DType::f32);
}

TEST(SixteenBitModel, ASecondStepAsksTheSystemForNoMemory) {
    SmallModel small(small_config(), 1, DType::f16);
    const Tokens tokens(2, 9, 17);
    small.forward_backward(tokens);
    const Pool::Statistics first = small.stream.pool().statistics();
    small.clear_gradients();
    small.forward_backward(tokens);
    EXPECT_EQ(small.stream.pool().statistics().system_calls, first.system_calls);
    EXPECT_EQ(small.stream.pool().statistics().in_use, first.in_use);
}

}  // namespace
}  // namespace skein::test
