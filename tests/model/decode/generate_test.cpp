#include "model/decode/generate.h"

#include <algorithm>

#include "model/base/error.h"
#include "model/decode/beam_search.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein::test {
namespace {

constexpr std::int32_t kBegin = 1, kEnd = 2;
using Ids = std::vector<std::int32_t>;

ModelConfig with_context(ModelConfig config, std::int64_t context) {
    config.context = context;
    return config;
}

/// The likeliest token, every time.
GenerateOptions greedy(std::int64_t tokens) {
    GenerateOptions options;
    options.tokens = tokens;
    options.sampling.temperature = 0.0;
    return options;
}

GenerateOptions sampled(std::int64_t tokens, std::uint64_t seed) {
    GenerateOptions options;
    options.tokens = tokens;
    options.seed = seed;
    return options;
}

/// What the model says is likeliest behind `ids`, by one whole forward pass.
std::int32_t likeliest(SmallModel& small, const Ids& ids) {
    std::int32_t best = -1;
    double least = 1e9;
    for (std::int32_t id = 0; id < 17; ++id) {
        Tokens tokens(1, static_cast<std::int64_t>(ids.size()), 17);
        tokens.ids = ids;
        tokens.targets.assign(ids.size(), -1);
        tokens.targets.back() = id;
        const double nll = small.forward(tokens).nll[0];
        if (nll < least) least = nll, best = id;
    }
    return best;
}

TEST(Generate, ADecoderGoesOnFromItsSecondHalfWhenTheContextIsFull) {
    SmallModel small(with_context(small_config(), 8));
    const Ids prompt{3, 4, 5};
    const Ids found = generate(small.model, small.stream, prompt, greedy(9));
    ASSERT_EQ(found.size(), 9u);
    Ids ids = prompt;
    std::size_t first = 0;  // of the ids that are read
    for (const std::int32_t next : found) {
        if (ids.size() - first > 8) first = ids.size() - 4;
        EXPECT_EQ(next, likeliest(small, {ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end()}));
        ids.push_back(next);
    }
    EXPECT_GT(first, 0u);
}

TEST(Generate, OfADecoderIsAFunctionOfSeedAlone) {
    SmallModel one(small_config(), 1), two(small_config(), 2);
    const Ids prompt{3, 4};
    const Ids found = generate(one.model, one.stream, prompt, sampled(30, 7));
    EXPECT_EQ(found, generate(two.model, two.stream, prompt, sampled(30, 7)));
    EXPECT_NE(found, generate(one.model, one.stream, prompt, sampled(30, 8)));
    const Ids fewer = generate(one.model, one.stream, prompt, sampled(10, 7));
    EXPECT_TRUE(std::ranges::equal(fewer, std::span(found).first(10)));
}

TEST(Generate, ATargetByTheLikeliestTokensIsTheGreedySearch) {
    SmallPairModel small(with_context(small_pair_config(), 24));
    std::size_t ended = 0;
    for (std::uint32_t n = 0; n < 10; ++n) {
        const Ids source = random_ids(1 + static_cast<std::int64_t>(n), 17, n);
        GenerateOptions options = greedy(12);
        options.stop = kEnd;
        Ids shown;
        Ids found = generate(small.model, small.stream, source, kBegin, options,
                             [&](std::int32_t id) { shown.push_back(id); });
        EXPECT_EQ(shown, found);
        if (found.back() == kEnd) {
            ++ended;
            found.pop_back();
        }
        BeamOptions search;
        search.beams = 1, search.begin = kBegin, search.end = kEnd;
        search.length_factor = 0.0, search.length_extra = 12;
        EXPECT_EQ(found, beam_search(small.model, small.stream, {source}, search)[0][0].ids);
    }
    EXPECT_GT(ended, 0u);
    EXPECT_LT(ended, 10u);
}

TEST(Generate, OfATargetIsAFunctionOfSeedAlone) {
    const ModelConfig config = with_context(small_pair_config(), 24);
    SmallPairModel one(config, 1), two(config, 2);
    const Ids source{3, 4, 5, kEnd};
    const Ids found = generate(one.model, one.stream, source, kBegin, sampled(20, 7));
    ASSERT_EQ(found.size(), 20u) << "without a stop token nothing stops it";
    EXPECT_EQ(found, generate(two.model, two.stream, source, kBegin, sampled(20, 7)));
    EXPECT_NE(found, generate(one.model, one.stream, source, kBegin, sampled(20, 8)));
    EXPECT_NE(found, generate(one.model, one.stream, Ids{6, 7, kEnd}, kBegin, sampled(20, 7)));
    GenerateOptions stopped = sampled(20, 7);
    stopped.stop = found[5];
    const auto first = static_cast<std::size_t>(std::ranges::find(found, found[5]) - found.begin());
    const Ids until = generate(one.model, one.stream, source, kBegin, stopped);
    EXPECT_TRUE(std::ranges::equal(until, std::span(found).first(first + 1)));
}

TEST(Generate, OnAGpuGivesTheCpusTokens) {
    if (!test_gpu()) GTEST_SKIP() << "SKEIN_TEST_DEVICE is the CPU";
    SmallModel gpu(small_config()), cpu(small_config(), 1, DType::f32, std::nullopt);
    const Ids prompt{3, 4};
    for (const GenerateOptions& options : {greedy(20), sampled(20, 7)})
        EXPECT_EQ(generate(gpu.model, gpu.stream, prompt, options),
                  generate(cpu.model, cpu.stream, prompt, options));
    const ModelConfig config = with_context(small_pair_config(), 24);
    SmallPairModel pair_gpu(config), pair_cpu(config, 1, DType::f32, std::nullopt);
    const Ids source{3, 4, 5, kEnd};
    for (const GenerateOptions& options : {greedy(20), sampled(20, 7)})
        EXPECT_EQ(generate(pair_gpu.model, pair_gpu.stream, source, kBegin, options),
                  generate(pair_cpu.model, pair_cpu.stream, source, kBegin, options));
}

TEST(Generate, ATargetIsNoLongerThanTheContext) {
    SmallPairModel small(small_pair_config());
    const std::int64_t context = small.model.config().context;
    const Ids found = generate(small.model, small.stream, Ids{3, kEnd}, kBegin, sampled(1000, 1));
    EXPECT_EQ(count(found), context);
}

TEST(Generate, IdsAndLengthsOutOfRangeAreRefused) {
    SmallPairModel small(small_pair_config());
    const auto context = static_cast<std::size_t>(small.model.config().context);
    for (const Ids& source : {Ids{}, Ids{17}, Ids{-1}, Ids(context + 1, 3)})
        EXPECT_THROW(generate(small.model, small.stream, source, kBegin, greedy(1)), DataError);
    EXPECT_THROW(generate(small.model, small.stream, Ids{3}, 17, greedy(1)), DataError);
    SmallModel decoder(small_config());
    EXPECT_THROW(generate(decoder.model, decoder.stream, Ids{}, greedy(1)), DataError);
    EXPECT_THROW(generate(decoder.model, decoder.stream, Ids{17}, greedy(1)), DataError);
}

}  // namespace
}  // namespace skein::test
