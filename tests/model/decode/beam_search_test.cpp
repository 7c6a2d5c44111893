#include "model/decode/beam_search.h"

#include <algorithm>
#include <cmath>

#include "model/base/error.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein::test {
namespace {

constexpr std::int32_t kBegin = 1, kEnd = 2;
using Sources = std::vector<std::vector<std::int32_t>>;
using Results = std::vector<std::vector<Hypothesis>>;

Sources some_sources(std::int64_t vocabulary, int sentences) {
    Sources sources;
    for (int n = 0; n < sentences; ++n)
        sources.push_back(random_ids(1 + n * 5 % 8, static_cast<std::int32_t>(vocabulary),
                                     100 + static_cast<std::uint32_t>(n)));
    return sources;
}

BeamOptions options_of(std::int64_t beams, double alpha = 0.0) {
    BeamOptions options;
    options.beams = options.best = beams;
    options.alpha = alpha;
    options.begin = kBegin, options.end = kEnd;
    return options;
}

/// log p of every token of each target and the end behind it, by one whole forward pass.
std::vector<double> forward_log_probabilities(SmallPairModel& small, const std::vector<std::int32_t>& source,
                                              const Sources& targets) {
    Pairs pairs;
    for (const auto& ids : targets) {
        pairs.sources.push_back(source);
        pairs.inputs.push_back({kBegin});
        pairs.inputs.back().insert(pairs.inputs.back().end(), ids.begin(), ids.end());
        pairs.targets.push_back(ids);
        pairs.targets.back().push_back(kEnd);
    }
    std::vector<double> found = small.forward(pairs).nll;
    for (double& value : found) value = -value;
    return found;
}
double forward_log_probability(SmallPairModel& small, const std::vector<std::int32_t>& source,
                               const std::vector<std::int32_t>& ids) {
    return forward_log_probabilities(small, source, {ids})[0];
}

/// The likeliest token behind `ids`, by one whole forward pass.
std::int32_t likeliest(SmallPairModel& small, const std::vector<std::int32_t>& source,
                       const std::vector<std::int32_t>& ids) {
    Pairs pairs;
    for (std::int32_t id = 0; id < 17; ++id) {
        pairs.sources.push_back(source);
        pairs.inputs.push_back({kBegin});
        pairs.inputs.back().insert(pairs.inputs.back().end(), ids.begin(), ids.end());
        pairs.targets.emplace_back(ids.size(), -1);
        pairs.targets.back().push_back(id);
    }
    const std::vector<double> nll = small.forward(pairs).nll;
    return static_cast<std::int32_t>(std::ranges::min_element(nll) - nll.begin());
}

/// Log-probabilities within `tolerance` of themselves.
void expect_equal(const Results& a, const Results& b, double tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t n = 0; n < a.size(); ++n) {
        ASSERT_EQ(a[n].size(), b[n].size()) << n;
        for (std::size_t k = 0; k < a[n].size(); ++k) {
            EXPECT_EQ(a[n][k].ids, b[n][k].ids) << n << ' ' << k;
            const double slack = tolerance * std::abs(b[n][k].log_probability);
            EXPECT_NEAR(a[n][k].log_probability, b[n][k].log_probability, slack);
            EXPECT_NEAR(a[n][k].score, b[n][k].score, slack);
        }
    }
}

ModelConfig search_config() {
    ModelConfig config = small_pair_config();
    config.context = 24;
    return config;
}

/// The same fp64 numbers, added in another order, of rows that were computed beside others (see
/// row_tolerance).
double sum_tolerance(SmallPairModel& small, double wanted) {
    return 1e-11 + row_tolerance(small.stream) * std::abs(wanted);
}

TEST(BeamSearch, WithOneBeamIsGreedy) {
    SmallPairModel small(search_config());
    const Sources sources = some_sources(17, is_shim(small.stream) ? 4 : 12);
    BeamOptions options = options_of(1, 0.6);
    options.length_extra = 10;
    const Results found = beam_search(small.model, small.stream, sources, options);
    std::size_t ended = 0;
    for (std::size_t n = 0; n < sources.size(); ++n) {
        // one token at a time, each the likeliest by whole forward passes
        std::vector<std::int32_t> ids;
        const std::size_t longest = sources[n].size() + 10;
        while (ids.size() < longest) {
            const std::int32_t next = likeliest(small, sources[n], ids);
            if (next == kEnd) {
                ++ended;
                break;
            }
            ids.push_back(next);
        }
        ASSERT_EQ(found[n].size(), 1u);
        EXPECT_EQ(found[n][0].ids, ids);
        const double wanted = forward_log_probability(small, sources[n], ids);
        EXPECT_NEAR(found[n][0].log_probability, wanted, sum_tolerance(small, wanted));
    }
    EXPECT_GT(ended, 0u);
    EXPECT_LT(ended, sources.size());
}

/// Every target of at most `longest` tokens, best score first.
std::vector<Hypothesis> all_targets(SmallPairModel& small, const std::vector<std::int32_t>& source,
                                    std::int32_t vocabulary, std::size_t longest,
                                    const BeamOptions& options) {
    std::vector<std::vector<std::int32_t>> targets{{}};
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (targets[i].size() == longest) continue;
        for (std::int32_t id = 0; id < vocabulary; ++id) {
            if (id == kEnd) continue;
            targets.push_back(targets[i]);
            targets.back().push_back(id);
        }
    }
    const std::vector<double> log_probabilities = forward_log_probabilities(small, source, targets);
    std::vector<Hypothesis> all;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        const double length = static_cast<double>(targets[i].size() + 1);
        const double penalty =
            std::pow(options.penalty == LengthPenalty::kGnmt ? (5 + length) / 6 : length, options.alpha);
        all.push_back({targets[i], log_probabilities[i], log_probabilities[i] / penalty});
    }
    std::ranges::stable_sort(all, [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
    return all;
}

TEST(BeamSearch, WideEnoughFindsWhatBruteForceFinds) {
    ModelConfig config = search_config();
    config.vocabulary = 4;
    SmallPairModel small(config);
    const Sources sources{{3, 0, 1}, {0}, {2, 2, 3, 1}};
    for (const LengthPenalty penalty : {LengthPenalty::kPower, LengthPenalty::kGnmt})
        for (const double alpha : {0.0, 0.6, 1.5}) {
            if (alpha != 0.6 && is_shim(small.stream)) continue;  // slow
            BeamOptions options = options_of(40, alpha);  // 1 + 3 + 9 + 27 targets of up to three tokens
            options.penalty = penalty;
            options.length_factor = 0.0, options.length_extra = 3;
            const Results found = beam_search(small.model, small.stream, sources, options);
            for (std::size_t n = 0; n < sources.size(); ++n) {
                const std::vector<Hypothesis> wanted = all_targets(small, sources[n], 4, 3, options);
                ASSERT_EQ(wanted.size(), 40u);
                ASSERT_EQ(found[n].size(), 40u);
                for (std::size_t k = 0; k < 40; ++k) {
                    EXPECT_EQ(found[n][k].ids, wanted[k].ids) << n << ' ' << k;
                    EXPECT_NEAR(found[n][k].score, wanted[k].score,
                                sum_tolerance(small, wanted[k].log_probability));
                }
            }
        }
}

TEST(BeamSearch, ScoresAreThoseOfTheWholeForwardPassAndFallFromBestToWorst) {
    SmallPairModel small(search_config());
    const Sources sources = some_sources(17, 6);
    const BeamOptions options = options_of(3, 0.6);
    const Results found = beam_search(small.model, small.stream, sources, options);
    for (std::size_t n = 0; n < sources.size(); ++n) {
        ASSERT_EQ(found[n].size(), 3u);
        for (std::size_t k = 0; k < 3; ++k) {
            const Hypothesis& hypothesis = found[n][k];
            EXPECT_LE(hypothesis.ids.size(), 23u) << "begin and 23 tokens fill the context";
            EXPECT_EQ(std::ranges::count(hypothesis.ids, kEnd), 0);
            const double wanted = forward_log_probability(small, sources[n], hypothesis.ids);
            EXPECT_NEAR(hypothesis.log_probability, wanted, sum_tolerance(small, wanted));
            if (k > 0) {
                EXPECT_GE(found[n][k - 1].score, hypothesis.score);
            }
        }
    }
}

TEST(BeamSearch, ASentencesResultDoesNotDependOnWhatIsBesideItNorOnThreads) {
    for (const std::int64_t beams : {1, 3}) {
        SmallPairModel small(search_config());
        const Sources sources = some_sources(17, is_shim(small.stream) ? 3 : 11);
        BeamOptions options = options_of(beams, 0.6);
        const Results together = beam_search(small.model, small.stream, sources, options);
        Results alone;
        for (const auto& source : sources)
            alone.push_back(beam_search(small.model, small.stream, {source}, options)[0]);
        const double tolerance = row_tolerance(small.stream);
        expect_equal(alone, together, tolerance);
        for (const std::int64_t positions : {1, 100, 250}) {
            options.batch_positions = positions;
            expect_equal(beam_search(small.model, small.stream, sources, options), together, tolerance);
        }
        for (const int threads : {2, 3}) {
            if (threads > 2 && is_shim(small.stream)) continue;  // slow
            SmallPairModel other(search_config(), threads);
            expect_equal(beam_search(other.model, other.stream, sources, options_of(beams, 0.6)), together,
                         0.0);
        }
    }
}

TEST(BeamSearch, OnAGpuFindsWhatItFindsOnTheCpu) {
    if (!test_gpu()) GTEST_SKIP() << "SKEIN_TEST_DEVICE is the CPU";
    SmallPairModel gpu(search_config()), cpu(search_config(), 1, DType::f32, std::nullopt);
    const Sources sources = some_sources(17, 8);
    const BeamOptions options = options_of(3, 0.6);
    // fp32 sums in another order on their way through the model: some 100 ulp
    expect_equal(beam_search(gpu.model, gpu.stream, sources, options),
                 beam_search(cpu.model, cpu.stream, sources, options), 1e-5);
}

TEST(BeamSearch, MemoryIsBoundedByTheBatchAndNotByTheNumberOfSentences) {
    SmallPairModel small(search_config());
    BeamOptions options = options_of(2);
    options.batch_positions = 4 * 2 * 32;  // four sentences
    const auto peak = [&](int sentences) {
        small.stream.pool().reset_peak();
        beam_search(small.model, small.stream,
                    Sources(static_cast<std::size_t>(sentences), {3, 4, 5, 6, 7, 8, 9, 10}), options);
        return small.stream.pool().statistics().peak;
    };
    const std::size_t few = peak(4);
    const int many = is_shim(small.stream) ? 12 : 40;
    EXPECT_EQ(peak(many), few);
    options.batch_positions *= 10;
    EXPECT_GT(peak(many), few);
}

TEST(BeamSearch, RefusesWhatItCannotDecode) {
    SmallPairModel small(search_config());
    const auto run = [&](const Sources& sources, const auto& change) {
        BeamOptions options = options_of(2);
        change(options);
        return beam_search(small.model, small.stream, sources, options);
    };
    const auto nothing = [](BeamOptions&) {};
    EXPECT_TRUE(run({}, nothing).empty());
    EXPECT_THROW(run({{3}, {}}, nothing), DataError);
    EXPECT_THROW(run({{17}}, nothing), DataError);
    EXPECT_THROW(run({{-1}}, nothing), DataError);
    EXPECT_THROW(run({std::vector<std::int32_t>(25, 3)}, nothing), DataError);
    EXPECT_THROW(run({{3}}, [](BeamOptions& o) { o.beams = 0; }), ConfigError);
    EXPECT_THROW(run({{3}}, [](BeamOptions& o) { o.best = 3; }), ConfigError);
    EXPECT_THROW(run({{3}}, [](BeamOptions& o) { o.alpha = -0.1; }), ConfigError);
    EXPECT_THROW(run({{3}}, [](BeamOptions& o) { o.length_extra = -1; }), ConfigError);
    EXPECT_THROW(run({{3}}, [](BeamOptions& o) { o.end = 17; }), ConfigError);
    const Tensor& table = small.model.parameters()[0].leaf.value;
    assign(small.stream, table,
           std::vector<float>(static_cast<std::size_t>(table.elements()), std::nanf("")));
    EXPECT_THROW(run({{3}}, nothing), DataError);
}

}  // namespace
}  // namespace skein::test
