// What the whole model promises: the same bits for any threads and any cut into passes, causality, and
// decoding that is the forward pass.
#include "model/nn/transformer.h"

#include <cmath>

#include "model/base/error.h"
#include "tests/model/nn/small_model.h"
#include "tests/support/gradient_check.h"

namespace skein::test {
namespace {

ModelConfig dropout_config() {
    ModelConfig config = small_config();
    config.dropout = 0.2;
    return config;
}

/// Large enough for several tiles of attention, rows and weights, and none of them whole.
ModelConfig long_config() {
    ModelConfig config = small_config();
    config.width = 72, config.heads = 3, config.feed_forward = 150, config.context = 160,
    config.vocabulary = 203;
    return config;
}

TEST(Transformer, GradientsAreTheSameBitsForAnyNumberOfThreads) {
    ModelConfig config = long_config();
    config.dropout = 0.1;
    const Tokens tokens(3, 150, config.vocabulary);
    const PassContext pass{.seed = 3, .step = 4, .first_sample = 8, .training = true};
    SmallModel one(config, 1);
    const SmallModel::Sums sums =
        one.forward_backward(tokens, pass, {.label_smoothing = 0.1, .gradient_scale = 1.0 / 450});
    for (const int threads : {2, 3}) {
        if (threads > 2 && is_shim(one.stream)) continue;  // slow
        SmallModel other(config, threads);
        EXPECT_EQ(other.forward_backward(tokens, pass, {.label_smoothing = 0.1, .gradient_scale = 1.0 / 450}),
                  sums);
        EXPECT_EQ(other.gradients(), one.gradients()) << threads << " threads";
    }
}

TEST(Transformer, ASamplesLossIsTheSameBitsInWhicheverPassItIs) {
    for (const ModelConfig& config : {dropout_config(), long_config()}) {
        SmallModel small(config);
        const Tokens tokens(5, std::min<std::int64_t>(config.context, 77), config.vocabulary);
        const PassContext pass{.seed = 3, .step = 4, .first_sample = 8, .training = true};
        const SmallModel::Sums whole = small.forward(tokens, pass);
        for (const std::int64_t first : {0, 1, 3})
            for (const std::int64_t last : {first + 1, std::int64_t{5}}) {
                PassContext part = pass;
                part.first_sample += first;
                const SmallModel::Sums found = small.forward(tokens.slice(first, last), part);
                expect_alike(small.stream, found.loss,
                             {whole.loss.begin() + first, whole.loss.begin() + last});
                expect_alike(small.stream, found.nll, {whole.nll.begin() + first, whole.nll.begin() + last});
            }
    }
}

TEST(Transformer, DropoutDependsOnSeedStepAndSampleAndIsOffOutsideTraining) {
    SmallModel small(dropout_config());
    const Tokens tokens(1, 7, 17);
    const PassContext pass{.seed = 3, .step = 4, .first_sample = 8, .training = true};
    const auto loss = [&](const PassContext& context) { return small.forward(tokens, context).loss[0]; };
    EXPECT_EQ(loss(pass), loss(pass));
    for (const PassContext& other : {PassContext{4, 4, 8, true}, PassContext{3, 5, 8, true},
                                     PassContext{3, 4, 9, true}, PassContext{3, 4, 8, false}})
        EXPECT_NE(loss(other), loss(pass));
    EXPECT_EQ(loss({3, 4, 8, false}), loss({9, 9, 9, false}));
}

TEST(Transformer, TwoPassesAddUpToOne) {
    ModelConfig config = dropout_config();
    SmallModel small(config);
    const Tokens tokens(4, 9, config.vocabulary);
    const PassContext pass{.seed = 3, .step = 4, .first_sample = 0, .training = true};
    const LossOptions options{.gradient_scale = 1.0 / 36};
    small.forward_backward(tokens, pass, options);
    const auto whole = small.gradients();
    small.clear_gradients();
    PassContext second = pass;
    second.first_sample = 1;
    small.forward_backward(tokens.slice(0, 1), pass, options);
    small.forward_backward(tokens.slice(1, 4), second, options);
    const auto parts = small.gradients();
    for (std::size_t i = 0; i < whole.size(); ++i)
        // sums over 36 rows in another order: a few ulp of the typical element
        expect_close(parts[i].second, {whole[i].second.begin(), whole[i].second.end()},
                     2e-6 + row_tolerance(small.stream), whole[i].first);
}

TEST(Transformer, PaddingAtTheEndOfASampleChangesNeitherItsLossNorItsGradients) {
    SmallModel small(dropout_config());
    const Tokens plain(1, 6, 17);
    Tokens padded = plain;
    padded.length = 9;
    padded.ids.resize(9, 5);
    padded.targets.resize(9, -1);
    const PassContext pass{.seed = 3, .step = 4, .first_sample = 2, .training = true};
    const SmallModel::Sums without = small.forward_backward(plain, pass);
    const auto gradients = small.gradients();
    small.clear_gradients();
    const SmallModel::Sums with = small.forward_backward(padded, pass);
    expect_alike(small.stream, with.loss, without.loss);
    expect_alike(small.stream, with.nll, without.nll);
    EXPECT_EQ(with.correct, without.correct);
    const auto found = small.gradients();
    for (std::size_t i = 0; i < found.size(); ++i)
        expect_close(found[i].second, {gradients[i].second.begin(), gradients[i].second.end()},
                     2e-6 + row_tolerance(small.stream), found[i].first);
}

/// The loss of the token at each position alone, as forward over the whole sample gives it.
std::vector<double> loss_of_each_token(SmallModel& small, const Tokens& tokens) {
    std::vector<double> losses;
    for (std::int64_t t = 0; t < tokens.length; ++t) {
        Tokens one = tokens;
        for (std::int64_t i = 0; i < count(one.targets); ++i)
            if (i % tokens.length != t) at(one.targets, i) = -1;
        const SmallModel::Sums sums = small.forward(one);
        losses.insert(losses.end(), sums.nll.begin(), sums.nll.end());
    }
    return losses;  // [length, samples]
}

TEST(Transformer, APositionDoesNotSeeWhatComesAfterIt) {
    for (const NormPlace norm : {NormPlace::kPre, NormPlace::kPost}) {
        ModelConfig config = small_config();
        config.norm = norm;
        SmallModel small(config);
        Tokens tokens(2, 9, 17);
        const std::vector<double> before = loss_of_each_token(small, tokens);
        for (const std::int64_t changed : {0, 4, 8}) {
            Tokens other = tokens;
            at(other.ids, changed) = (at(other.ids, changed) + 1) % 17;  // of sample 0
            const std::vector<double> after = loss_of_each_token(small, other);
            for (std::int64_t t = 0; t < 9; ++t) {
                if (t < changed) {
                    EXPECT_EQ(at(after, 2 * t), at(before, 2 * t)) << "position " << t;
                } else {
                    EXPECT_NE(at(after, 2 * t), at(before, 2 * t)) << "position " << t;
                }
                EXPECT_EQ(at(after, 2 * t + 1), at(before, 2 * t + 1)) << "another sample";
            }
        }
    }
}

std::vector<ModelConfig> decoding_configs() {
    std::vector<ModelConfig> configs(4, small_config());
    configs[1].heads = 4, configs[1].key_value_heads = 2, configs[1].bias = false;
    configs[2].norm = NormPlace::kPost, configs[2].position = PositionKind::kSinusoidal;
    configs[2].activation = ActivationKind::kRelu, configs[2].tie_embeddings = false;
    configs[3] = long_config();
    for (ModelConfig& config : configs) config.dropout = 0.5;  // must not matter
    return configs;
}

TEST(Transformer, DecodingWithTheCacheIsTheForwardPassBitForBit) {
    for (const ModelConfig& config : decoding_configs())
        for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
            SmallModel small(config, 1, dtype);
            const Tokens tokens(2, std::min<std::int64_t>(config.context, 75), config.vocabulary);
            const std::int64_t prompt = config.context > 75 ? 66 : 3;  // fed at once, the rest one by one
            DecodeState state = small.model.start_decoding(small.stream, tokens.samples, config.context);
            for (std::int64_t t = 0; t < tokens.length;) {
                const std::int64_t step = t == 0 ? prompt : 1;
                std::vector<std::int32_t> ids;
                for (std::int64_t sample = 0; sample < tokens.samples; ++sample)
                    for (std::int64_t i = t; i < t + step; ++i)
                        ids.push_back(at(tokens.ids, sample * tokens.length + i));
                t += step;
                const Tensor logits = small.model.decode(
                    small.stream, Tensor::from<std::int32_t>(small.stream, {tokens.samples, step}, ids),
                    state);
                EXPECT_EQ(state.length, t);
                if (is_shim(small.stream) && t % 3 != 0) continue;  // slow

                Tokens last = tokens;  // only the target after position t - 1 counts
                std::vector<std::int32_t> targets;
                for (std::int64_t i = 0; i < count(last.targets); ++i) {
                    if (i % tokens.length == t - 1)
                        targets.push_back(at(last.targets, i));
                    else
                        at(last.targets, i) = -1;
                }
                SCOPED_TRACE(text("after position ", t - 1));
                const RowLosses found = losses_of_rows(small.stream, logits, targets);
                const SmallModel::Sums forward = small.forward(last);
                expect_alike(small.stream, found.nll, forward.nll, dtype);
                if (row_tolerance(small.stream) == 0.0) {
                    EXPECT_EQ(found.correct, forward.correct);
                }
            }
        }
}

TEST(Transformer, DecodesASampleAsItWouldAlone) {
    SmallModel small(small_config());
    const Tokens tokens(3, 5, 17);
    DecodeState together = small.model.start_decoding(small.stream, 3, 9);
    const std::vector<float> logits =
        floats_of(small.stream, small.model.decode(small.stream, tokens.on(small.stream).ids, together));
    for (std::int64_t sample = 0; sample < 3; ++sample) {
        DecodeState alone = small.model.start_decoding(small.stream, 1, 9);
        const Tokens one = tokens.slice(sample, sample + 1);
        expect_close(
            floats_of(small.stream, small.model.decode(small.stream, one.on(small.stream).ids, alone)),
            {logits.begin() + sample * 17, logits.begin() + (sample + 1) * 17}, row_tolerance(small.stream),
            "logits");
    }
}

TEST(Transformer, RefusesMoreTokensThanTheContextHolds) {
    SmallModel small(small_config());
    EXPECT_THROW(small.forward(Tokens(1, 10, 17)), ShapeError);
    DecodeState state = small.model.start_decoding(small.stream, 1, 9);
    const Tokens tokens(1, 6, 17);
    small.model.decode(small.stream, tokens.on(small.stream).ids, state);
    EXPECT_THROW(small.model.decode(small.stream, tokens.on(small.stream).ids, state), ShapeError);
    EXPECT_EQ(state.length, 6);
}

TEST(Transformer, EveryParameterIsFinalOnceAndTheTiedTableLast) {
    SmallModel small(small_config());
    const Tokens tokens(2, 9, 17);
    Tape tape(small.stream);
    std::vector<const Leaf*> order;
    tape.on_leaf_final = [&](Leaf& leaf) { order.push_back(&leaf); };
    small.run(tape, tokens);
    ASSERT_EQ(order.size(), small.model.parameters().size());
    EXPECT_EQ(std::ranges::count(order, &small.model.parameters()[0].leaf), 1);
    // the two tables are inputs of the first op, the last to run backward; the final norm goes first
    EXPECT_EQ(order[order.size() - 2], &small.model.parameters()[0].leaf);
    EXPECT_EQ(order.back(), &small.model.parameters()[1].leaf);
    const Parameter& last = small.model.parameters()[small.model.parameters().size() - 1];
    EXPECT_EQ(last.name, "decoder.norm.bias");
    EXPECT_TRUE(order[0] == &last.leaf || order[1] == &last.leaf);
}

TEST(Transformer, ASecondStepAsksTheSystemForNoMemory) {
    ModelConfig config = long_config();
    config.dropout = 0.1;
    SmallModel small(config);
    const Tokens tokens(2, 100, config.vocabulary);
    const PassContext pass{.training = true};
    small.forward_backward(tokens, pass);
    const Pool::Statistics first = small.stream.pool().statistics();
    small.clear_gradients();
    small.forward_backward(tokens, pass);
    const Pool::Statistics second = small.stream.pool().statistics();
    EXPECT_EQ(second.system_calls, first.system_calls);
    EXPECT_EQ(second.peak, first.peak);
    EXPECT_EQ(second.in_use, first.in_use);
}

TEST(SinusoidalPositions, AlternateSineAndCosineOverTheDimension) {
    Stream stream(test_gpu(), 1);
    for (const std::int64_t width : {6, 7}) {
        const std::vector<float> table = floats_of(stream, sinusoidal_positions(stream, 50, width));
        for (std::int64_t t = 0; t < 50; ++t)
            for (std::int64_t i = 0; 2 * i < width; ++i) {
                const double angle =
                    static_cast<double>(t) *
                    std::exp(-std::log(1e4) * 2.0 * static_cast<double>(i) / static_cast<double>(width));
                EXPECT_NEAR(static_cast<double>(at(table, t * width + 2 * i)), std::sin(angle), 1e-7);
                if (2 * i + 1 < width) {
                    EXPECT_NEAR(static_cast<double>(at(table, t * width + 2 * i + 1)), std::cos(angle), 1e-7);
                }
            }
    }
}

TEST(Transformer, EmbeddingsAreScaledByRootWidthWhereSinusoidsAreAdded) {
    // a model with sinusoids equals one with learned positions that hold them, and a table sqrt(16) = 4 times
    // as large
    ModelConfig config = small_config();
    config.width = 16, config.tie_embeddings = false;
    ModelConfig with_sinusoids = config;
    with_sinusoids.position = PositionKind::kSinusoidal;
    SmallModel learned(config), fixed(with_sinusoids);
    const auto parameter = [](SmallModel& small, const std::string& name) {
        for (std::size_t i = 0; i < small.model.parameters().size(); ++i)
            if (small.model.parameters()[i].name == name) return small.model.parameters()[i].leaf.value;
        throw std::logic_error("no parameter " + name);
    };
    for (std::size_t i = 0; i < fixed.model.parameters().size(); ++i) {
        const Parameter& from = fixed.model.parameters()[i];
        assign(learned.stream, parameter(learned, from.name), floats_of(fixed.stream, from.leaf.value));
    }
    const Tensor table = parameter(learned, "token_embedding.weight");
    std::vector<float> values = floats_of(learned.stream, table);
    for (float& value : values) value *= 4.0f;
    assign(learned.stream, table, values);
    assign(learned.stream, parameter(learned, "position_embedding.weight"),
           floats_of(fixed.stream, sinusoidal_positions(fixed.stream, config.context, 16)));
    const Tokens tokens(2, 9, 17);
    EXPECT_EQ(learned.forward(tokens), fixed.forward(tokens));
}

}  // namespace
}  // namespace skein::test
