// What the encoder-decoder promises: the same bits for any threads, padding and company; who sees whom;
// decoding that is the forward pass.
#include "model/nn/encoder_decoder.h"

#include <cmath>
#include <tuple>

#include "model/base/error.h"
#include "tests/model/nn/small_pair_model.h"
#include "tests/support/gradient_check.h"

namespace skein::test {
namespace {

std::vector<ModelConfig> both_norms() {
    std::vector<ModelConfig> configs(2, small_pair_config());
    configs[1].norm = NormPlace::kPre;
    configs[1].heads = 4, configs[1].key_value_heads = 2;
    return configs;
}

/// Several tiles of attention, rows and weights, none of them whole.
ModelConfig long_config() {
    ModelConfig config = small_pair_config();
    config.width = 72, config.heads = 3, config.feed_forward = 150, config.context = 160,
    config.vocabulary = 203;
    config.dropout = 0.1;
    return config;
}

const PassContext kTraining{.seed = 3, .step = 4, .first_sample = 8, .training = true};

TEST(EncoderDecoder, GradientsAreTheSameBitsForAnyNumberOfThreads) {
    const Pairs pairs({{150, 20}, {33, 140}, {80, 80}}, 203);
    const LossOptions options{.label_smoothing = 0.1, .gradient_scale = 1.0 / 240};
    SmallPairModel one(long_config(), 1);
    const SmallPairModel::Sums sums = one.forward_backward(pairs, kTraining, options);
    for (const int threads : {2, 3}) {
        if (threads > 2 && is_shim(one.stream)) continue;  // slow
        SmallPairModel other(long_config(), threads);
        EXPECT_EQ(other.forward_backward(pairs, kTraining, options), sums);
        EXPECT_EQ(other.gradients(), one.gradients()) << threads << " threads";
    }
}

TEST(EncoderDecoder, ASamplesLossIsTheSameBitsWhateverIsBesideIt) {
    const Pairs pairs({{150, 20}, {33, 140}, {80, 80}, {1, 1}}, 203);
    SmallPairModel small(long_config());
    const SmallPairModel::Sums whole = small.forward(pairs, kTraining);
    for (std::size_t sample = 0; sample < 4; ++sample) {
        PassContext own = kTraining;
        own.first_sample += static_cast<std::int64_t>(sample);
        const SmallPairModel::Sums alone = small.forward(pairs.slice(sample, sample + 1), own);
        expect_alike(small.stream, alone.loss, {whole.loss[sample]});
        expect_alike(small.stream, alone.nll, {whole.nll[sample]});
        if (row_tolerance(small.stream) == 0.0) {
            EXPECT_EQ(alone.correct[0], whole.correct[sample]);
        }
    }
}

/// The model's gradients are `wanted`, though other rows were beside them (see row_tolerance).
void expect_gradients_alike(SmallPairModel& small, const NamedGradients& wanted) {
    const NamedGradients found = small.gradients();
    for (std::size_t i = 0; i < wanted.size(); ++i)
        expect_close(found[i].second, {wanted[i].second.begin(), wanted[i].second.end()},
                     row_tolerance(small.stream), wanted[i].first);
}

TEST(EncoderDecoder, PaddingChangesNoBitOfLossAndGradients) {
    for (ModelConfig config : both_norms()) {
        config.dropout = 0.2;
        SmallPairModel small(config);
        const Pairs plain({{5, 4}}, 17);
        const SmallPairModel::Sums sums = small.forward_backward(plain, kTraining);
        const NamedGradients gradients = small.gradients();
        for (const std::int32_t id : {0, 7}) {
            Pairs padded = plain;
            padded.padding = id, padded.more_source_padding = 4, padded.more_target_padding = 5;
            small.clear_gradients();
            const SmallPairModel::Sums found = small.forward_backward(padded, kTraining);
            expect_alike(small.stream, found.loss, sums.loss);
            expect_alike(small.stream, found.nll, sums.nll);
            EXPECT_EQ(found.correct, sums.correct);
            expect_gradients_alike(small, gradients);
        }
    }
}

TEST(EncoderDecoder, AnotherSampleWithoutTargetsChangesNoBitOfTheGradients) {
    SmallPairModel small(small_pair_config());
    const Pairs plain({{5, 4}}, 17);
    small.forward_backward(plain);
    const NamedGradients gradients = small.gradients();
    Pairs with = plain;
    with.sources.push_back({1, 2, 3, 4, 5, 6, 7, 8});
    with.inputs.push_back({}), with.targets.push_back({});
    small.clear_gradients();
    EXPECT_EQ(small.forward_backward(with).loss[1], 0.0);
    expect_gradients_alike(small, gradients);
}

TEST(EncoderDecoder, AnEmptySideIsNoNaN) {
    SmallPairModel small(small_pair_config());
    Pairs pairs({{5, 4}, {3, 6}}, 17);
    pairs.sources[0].clear();
    const SmallPairModel::Sums sums = small.forward_backward(pairs);
    EXPECT_TRUE(std::isfinite(sums.loss[0]) && sums.loss[0] > 0.0);
    for (const auto& [name, gradient] : small.gradients())
        for (const float value : gradient) ASSERT_TRUE(std::isfinite(value)) << name;
}

TEST(EncoderDecoder, TwoPassesAddUpToOne) {
    ModelConfig config = small_pair_config();
    config.dropout = 0.2;
    SmallPairModel small(config);
    const Pairs pairs({{4, 6}, {7, 3}, {5, 5}}, 17);
    const LossOptions options{.gradient_scale = 1.0 / 14};
    small.forward_backward(pairs, kTraining, options);
    const NamedGradients whole = small.gradients();
    small.clear_gradients();
    PassContext second = kTraining;
    second.first_sample += 1;
    small.forward_backward(pairs.slice(0, 1), kTraining, options);
    small.forward_backward(pairs.slice(1, 3), second, options);
    const NamedGradients parts = small.gradients();
    for (std::size_t i = 0; i < whole.size(); ++i)
        // sums over some 20 rows in another order: a few ulp of the typical element
        expect_close(parts[i].second, {whole[i].second.begin(), whole[i].second.end()},
                     3e-6 + row_tolerance(small.stream), whole[i].first);
}

/// The loss of each target token of sample 0 alone.
std::vector<double> token_losses(SmallPairModel& small, const Pairs& pairs) {
    std::vector<double> losses;
    for (std::size_t t = 0; t < pairs.targets[0].size(); ++t) {
        Pairs one = pairs;
        for (std::size_t i = 0; i < one.targets[0].size(); ++i)
            if (i != t) one.targets[0][i] = -1;
        losses.push_back(small.forward(one).nll[0]);
    }
    return losses;
}

TEST(EncoderDecoder, ATargetPositionSeesTheTargetSoFarAndTheWholeSource) {
    for (const ModelConfig& config : both_norms()) {
        SmallPairModel small(config);
        const Pairs pairs({{6, 7}, {9, 9}}, 17);
        const std::vector<double> before = token_losses(small, pairs);
        for (const std::size_t changed : {0, 3, 6}) {
            if (changed != 3 && is_shim(small.stream)) continue;  // slow
            Pairs other = pairs;
            other.inputs[0][changed] = (other.inputs[0][changed] + 1) % 17;
            const std::vector<double> after = token_losses(small, other);
            for (std::size_t t = 0; t < 7; ++t)
                EXPECT_EQ(after[t] == before[t], t < changed) << changed << ' ' << t;
        }
        for (const std::size_t changed : {0, 3, 5}) {
            if (changed != 3 && is_shim(small.stream)) continue;
            Pairs other = pairs;
            other.sources[0][changed] = (other.sources[0][changed] + 1) % 17;
            const std::vector<double> after = token_losses(small, other);
            for (std::size_t t = 0; t < 7; ++t) EXPECT_NE(after[t], before[t]) << changed << ' ' << t;
        }
        Pairs other = pairs;
        for (std::int32_t& id : other.sources[1]) id = (id + 1) % 17;
        for (std::int32_t& id : other.inputs[1]) id = (id + 1) % 17;
        EXPECT_EQ(token_losses(small, other), before) << "another sample";
    }
}

TEST(EncoderDecoder, TheEncoderSeesBothWaysButNoPadding) {
    SmallPairModel small(small_pair_config());
    const auto states = [&](const Pairs& pairs) {
        Tape tape(small.stream, Tape::Mode::kInference);
        const PairPass pass = pairs.on(small.stream);
        return floats_of(small.stream,
                         small.model.encode(tape, pass.source, pass.source_lengths, {}).states.value());
    };
    const Pairs pairs({{6, 1}}, 17);
    const std::vector<float> before = states(pairs);
    for (const std::size_t changed : {0, 5}) {
        Pairs other = pairs;
        other.sources[0][changed] = (other.sources[0][changed] + 1) % 17;
        const std::vector<float> after = states(other);
        for (std::size_t t = 0; t < 6; ++t)
            EXPECT_FALSE(std::equal(after.begin() + static_cast<std::ptrdiff_t>(12 * t),
                                    after.begin() + static_cast<std::ptrdiff_t>(12 * t + 12),
                                    before.begin() + static_cast<std::ptrdiff_t>(12 * t)))
                << t;
    }
    Pairs padded = pairs;
    padded.more_source_padding = 3, padded.padding = 11;
    const std::vector<float> after = states(padded);
    expect_close({after.begin(), after.begin() + count(before)}, {before.begin(), before.end()},
                 row_tolerance(small.stream), "states");
}

TEST(EncoderDecoder, DropsAnewInEveryPlaceOfBothStacks) {
    for (double ModelConfig::*site : {&ModelConfig::dropout_embedding, &ModelConfig::dropout_residual,
                                      &ModelConfig::dropout_attention, &ModelConfig::dropout_feed_forward}) {
        ModelConfig config = small_pair_config();
        config.*site = 0.3;
        SmallPairModel small(config);
        const Pairs pairs({{6, 7}}, 17);
        const double loss = small.forward(pairs, kTraining).loss[0];
        EXPECT_EQ(small.forward(pairs, kTraining).loss[0], loss);
        for (const PassContext& other : {PassContext{4, 4, 8, true}, PassContext{3, 5, 8, true},
                                         PassContext{3, 4, 9, true}, PassContext{3, 4, 8, false}})
            EXPECT_NE(small.forward(pairs, other).loss[0], loss);
    }
}

TEST(EncoderDecoder, DecodingWithTheCacheIsTheForwardPassBitForBit) {
    std::vector<ModelConfig> configs = both_norms();
    configs.push_back(long_config());
    configs[0].share_embeddings = configs[0].tie_embeddings = false;
    for (const ModelConfig& config : configs)
        for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
            SmallPairModel small(config, 1, dtype);
            if (dtype == DType::f16 && config.context > 100 && is_shim(small.stream)) continue;  // slow
            const int longest = config.context > 100 ? 140 : 9;
            const Pairs pairs({{longest, 7}, {3, 7}}, config.vocabulary);
            const PairPass pass = pairs.on(small.stream);
            // two beams that are fed the same, after every step the other way round
            PairDecodeState state =
                small.model.start_decoding(small.stream, pass.source, pass.source_lengths, 2, 8);
            for (std::size_t t = 0; t < 7; ++t) {
                const auto &a = pairs.inputs[0], &b = pairs.inputs[1];
                const Tensor logits = small.model.decode(
                    small.stream,
                    Tensor::from<std::int32_t>(small.stream, {4},
                                               std::vector<std::int32_t>{a[t], a[t], b[t], b[t]}),
                    state);
                state.select(small.stream, std::vector<std::int32_t>{1, 0, 3, 2});
                if (is_shim(small.stream) && t % 3 != 0) continue;  // slow
                Pairs last = pairs;
                for (auto& targets : last.targets)
                    for (std::size_t i = 0; i < targets.size(); ++i)
                        if (i != t) targets[i] = -1;
                const SmallPairModel::Sums forward = small.forward(last);
                const std::int32_t x = pairs.targets[0][t], y = pairs.targets[1][t];
                expect_alike(small.stream, losses_of_rows(small.stream, logits, {x, x, y, y}).nll,
                             {forward.nll[0], forward.nll[0], forward.nll[1], forward.nll[1]}, dtype);
            }
        }
}

TEST(EncoderDecoder, SelectedRowsGoOnAsTheirParentsWould) {
    SmallPairModel small(both_norms()[1]);
    const Pairs pairs({{9, 1}, {3, 1}, {5, 1}}, 17);
    const auto start = [&](const Pairs& some, std::int64_t beams) {
        const PairPass pass = some.on(small.stream);
        return small.model.start_decoding(small.stream, pass.source, pass.source_lengths, beams, 8);
    };
    const auto feed = [&](PairDecodeState& state, const std::vector<std::int32_t>& ids) {
        return floats_of(
            small.stream,
            small.model.decode(small.stream, Tensor::from<std::int32_t>(small.stream, {count(ids)}, ids),
                               state));
    };
    PairDecodeState state = start(pairs, 2);
    feed(state, {1, 2, 3, 4, 5, 6});
    state.select(small.stream, std::vector<std::int32_t>{1, 1, 5, 4});  // sentence 1 leaves
    EXPECT_EQ(state.sentences(), 2);
    const std::vector<float> found = feed(state, {7, 8, 9, 10});

    std::vector<float> wanted;
    for (const auto& [sentence, first, second] :
         {std::tuple<std::size_t, int, int>{0, 2, 7}, {0, 2, 8}, {2, 6, 9}, {2, 5, 10}}) {
        PairDecodeState alone = start(pairs.slice(sentence, sentence + 1), 1);
        feed(alone, {first});
        const std::vector<float> logits = feed(alone, {second});
        wanted.insert(wanted.end(), logits.begin(), logits.end());
    }
    expect_close(found, {wanted.begin(), wanted.end()}, row_tolerance(small.stream), "logits");

    EXPECT_THROW(state.select(small.stream, std::vector<std::int32_t>{0, 2}), ShapeError);
    EXPECT_THROW(state.select(small.stream, std::vector<std::int32_t>{0, 4}), ShapeError);
    EXPECT_THROW(state.select(small.stream, std::vector<std::int32_t>{0}), ShapeError);
    EXPECT_THROW(state.select(small.stream, std::vector<std::int32_t>{}), ShapeError);
}

TEST(EncoderDecoder, RefusesWhatDoesNotFit) {
    SmallPairModel small(small_pair_config());
    EXPECT_THROW(small.forward(Pairs({{10, 3}}, 17)), ShapeError);
    EXPECT_THROW(small.forward(Pairs({{3, 10}}, 17)), ShapeError);
    PairPass pass = Pairs({{3, 4}, {5, 6}}, 17).on(small.stream);
    pass.source_lengths = Tensor::zeros(small.stream, DType::i32, {3});
    Tape tape(small.stream, Tape::Mode::kInference);
    EXPECT_THROW(small.model.loss(tape, pass, {}, {}), ShapeError);
    const PairPass good = Pairs({{3, 4}}, 17).on(small.stream);
    EXPECT_THROW(small.model.start_decoding(small.stream, good.source, good.source_lengths, 1, 10),
                 ShapeError);
    PairDecodeState state = small.model.start_decoding(small.stream, good.source, good.source_lengths, 1, 1);
    const Tensor id = Tensor::zeros(small.stream, DType::i32, {1});
    small.model.decode(small.stream, id, state);
    EXPECT_THROW(small.model.decode(small.stream, id, state), ShapeError);

    const auto refused = [](const auto& change, const std::string& option) {
        expect_config_refused(small_pair_config(), change, option);
    };
    refused([](ModelConfig& c) { c.encoder_layers = -1; }, "model.encoder-layers");
    refused([](ModelConfig& c) { c.decoder_layers = -1; }, "model.decoder-layers");
    refused([](ModelConfig& c) { c.source_vocabulary = -1; }, "model.source-vocabulary");
    refused([](ModelConfig& c) { c.source_vocabulary = 18; }, "model.share-embeddings");
    Stream stream(test_gpu(), 1);
    EXPECT_THROW(EncoderDecoder(stream, small_config(), 1), ConfigError);
    EXPECT_THROW(Transformer(stream, small_pair_config(), 1), ConfigError);
}

TEST(EncoderDecoder, EveryParameterIsFinalOnceAndTheTiedTableLast) {
    SmallPairModel small(small_pair_config());
    Tape tape(small.stream);
    std::vector<const Leaf*> order;
    tape.on_leaf_final = [&](Leaf& leaf) { order.push_back(&leaf); };
    small.run(tape, Pairs({{3, 4}, {5, 6}}, 17));
    ASSERT_EQ(order.size(), small.model.parameters().size());
    for (std::size_t i = 0; i < order.size(); ++i)
        EXPECT_EQ(std::ranges::count(order, &small.model.parameters()[i].leaf), 1)
            << small.model.parameters()[i].name;
    EXPECT_EQ(order.back(), &small.model.parameters()[0].leaf);
}

TEST(EncoderDecoder, ASecondStepAsksTheSystemForNoMemory) {
    SmallPairModel small(long_config());
    const Pairs pairs({{150, 20}, {33, 140}}, 203);
    small.forward_backward(pairs, kTraining);
    const Pool::Statistics first = small.stream.pool().statistics();
    small.clear_gradients();
    small.forward_backward(pairs, kTraining);
    EXPECT_EQ(small.stream.pool().statistics().system_calls, first.system_calls);
    EXPECT_EQ(small.stream.pool().statistics().in_use, first.in_use);
}

}  // namespace
}  // namespace skein::test
