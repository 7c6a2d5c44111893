#include "model/kernels/cross_entropy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include "model/tensor/pool.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;
using test::random_ids;

struct Outcome {
    std::vector<float> gradient;
    std::vector<double> loss, nll;
    std::vector<std::int64_t> correct;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome run(std::int64_t vocabulary, const std::vector<float>& logits,
            const std::vector<std::int32_t>& targets, double smoothing, float gradient_scale,
            bool gradient = true, int threads = 1) {
    CpuStream stream{threads, nullptr};
    const std::size_t rows = targets.size();
    Outcome out{logits, std::vector<double>(rows, -1), std::vector<double>(rows, -1),
                std::vector<std::int64_t>(rows, -1)};
    CrossEntropyArgs args{.rows = test::count(targets), .vocabulary = vocabulary};
    args.logits = out.gradient.data();
    if (gradient) args.gradient = args.logits;
    args.targets = targets.data();
    args.smoothing = smoothing;
    args.gradient_scale = gradient_scale;
    args.loss = out.loss.data();
    args.nll = out.nll.data();
    args.correct = out.correct.data();
    cross_entropy(stream, args);
    return out;
}

constexpr std::int64_t kRows = 13;
constexpr float kScale = 0.125f;

/// Two of the rows are padding.
std::vector<std::int32_t> some_targets(std::int64_t vocabulary) {
    std::vector<std::int32_t> targets = random_ids(kRows, static_cast<std::int32_t>(vocabulary), 1);
    targets[4] = -1;
    targets[12] = -100;
    return targets;
}

void expect_fp64(const Outcome& found, std::int64_t vocabulary, const std::vector<float>& logits,
                 const std::vector<std::int32_t>& targets, double smoothing) {
    for (std::int64_t r = 0; r < kRows; ++r) {
        const float* x = logits.data() + r * vocabulary;
        const float* gradient = found.gradient.data() + r * vocabulary;
        const std::int32_t target = at(targets, r);
        if (target < 0) {
            EXPECT_EQ(at(found.loss, r), 0.0);
            EXPECT_EQ(at(found.nll, r), 0.0);
            EXPECT_EQ(at(found.correct, r), 0);
            EXPECT_TRUE(std::all_of(gradient, gradient + vocabulary, [](float g) { return g == 0.0f; }));
            continue;
        }
        const float* largest = std::max_element(x, x + vocabulary);
        const auto highest = static_cast<double>(*largest);
        double total = 0.0, sum = 0.0;
        for (std::int64_t v = 0; v < vocabulary; ++v) {
            total += std::exp(static_cast<double>(x[v]) - highest);
            sum += static_cast<double>(x[v]) - highest;
        }
        const double share = smoothing / static_cast<double>(vocabulary);
        const double nll = std::log(total) - (static_cast<double>(x[target]) - highest);
        const double loss =
            (1.0 - smoothing) * nll + share * (static_cast<double>(vocabulary) * std::log(total) - sum);
        EXPECT_NEAR(at(found.nll, r), nll, 1e-6 * std::max(1.0, nll));
        EXPECT_NEAR(at(found.loss, r), loss, 1e-6 * std::max(1.0, loss));
        EXPECT_EQ(at(found.correct, r), x + target == largest);
        for (std::int64_t v = 0; v < vocabulary; ++v) {
            const double p = std::exp(static_cast<double>(x[v]) - highest) / total;
            const double wanted = 0.125 * (p - share - (v == target ? 1.0 - smoothing : 0.0));
            // p is right to about ten ulp, the share to two; at the target, p - 1 is right to an ulp of 1
            ASSERT_NEAR(static_cast<double>(gradient[v]), wanted,
                        0.125 * (2e-6 * p + (v == target ? 2e-7 : 2e-7 * share) + 1e-12));
        }
    }
}

void check(std::int64_t vocabulary, float deviation, double smoothing) {
    const std::vector<std::int32_t> targets = some_targets(vocabulary);
    const std::vector<float> logits = random_floats(kRows * vocabulary, 2, deviation);
    const Outcome found = run(vocabulary, logits, targets, smoothing, kScale);
    EXPECT_EQ(run(vocabulary, logits, targets, smoothing, kScale, true, 2), found);
    EXPECT_EQ(run(vocabulary, logits, targets, smoothing, kScale, true, 3), found);
    const Outcome no_gradient = run(vocabulary, logits, targets, smoothing, kScale, false);
    EXPECT_EQ(no_gradient.loss, found.loss);
    EXPECT_EQ(no_gradient.nll, found.nll);
    EXPECT_EQ(no_gradient.correct, found.correct);
    EXPECT_EQ(no_gradient.gradient, logits);
    expect_fp64(found, vocabulary, logits, targets, smoothing);
}

TEST(CrossEntropy, MatchesFp64AtAnyVocabularyAndSmoothing) {
    for (const std::int64_t vocabulary : {2, 7, 8, 65, 1000, 4099})
        for (const double smoothing : {0.0, 0.1})
            for (const float deviation : {0.1f, 3.0f}) check(vocabulary, deviation, smoothing);
}

TEST(CrossEntropy, StaysFiniteWhereLogitsAreHuge) {
    for (const double smoothing : {0.0, 0.1}) check(333, 1e4f, smoothing);
}

TEST(CrossEntropy, GradientsOfARowSumToZero) {
    const Outcome found = run(1001, random_floats(1001, 4), {17}, 0.1, 1.0f);
    double sum = 0.0;
    for (const float g : found.gradient) sum += static_cast<double>(g);
    EXPECT_NEAR(sum, 0.0, 1e-6);  // 1001 roundings of values of about 1e-3, and one of about 1
}

TEST(CrossEntropy, OnlyTheFirstOfEqualLargestLogitsIsCorrect) {
    const std::vector<float> logits{1, 5, 5, 0, 1, 5, 5, 0};
    EXPECT_EQ(run(4, logits, {1, 2}, 0.0, 1.0f).correct, (std::vector<std::int64_t>{1, 0}));
}

TEST(CrossEntropy, OfNonFiniteLogitsIsNotFinite) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (const std::int64_t place : {0, 9, 18}) {
            std::vector<float> logits = random_floats(19, 5);
            at(logits, place) = bad;
            EXPECT_FALSE(std::isfinite(run(19, logits, {3}, 0.0, 1.0f).loss[0])) << bad << " at " << place;
        }
}

/// Part i of a vocabulary has the ids cuts[i] ... cuts[i + 1] - 1.
using Cuts = std::vector<std::int64_t>;

/// A NaN is the same as itself.
bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

struct PartsOptions {
    bool gradient = true;
    int threads = 1;
    const float* device_scale = nullptr;
};

/// What ranks that share the vocabulary find together. T: the gradient's.
template <class T = float>
Outcome run_in_parts(const Cuts& cuts, const std::vector<float>& logits,
                     const std::vector<std::int32_t>& targets, double smoothing, float gradient_scale,
                     const PartsOptions& options = {}) {
    Pool pool;
    CpuStream stream{options.threads, &pool};
    const std::int64_t rows = test::count(targets), vocabulary = cuts.back();
    const int parts = static_cast<int>(cuts.size()) - 1;
    std::vector<VocabularyPart> all(static_cast<std::size_t>(parts * rows));
    std::vector<std::vector<float>> own_logits(cuts.size());
    std::vector<std::vector<T>> own_gradients(cuts.size());
    std::vector<CrossEntropyArgs> args(cuts.size());
    for (int i = 0; i < parts; ++i) {
        const std::int64_t first = at(cuts, i), ids = at(cuts, i + 1) - first;
        for (std::int64_t r = 0; r < rows; ++r) {
            const auto row = logits.begin() + r * vocabulary + first;
            at(own_logits, i).insert(at(own_logits, i).end(), row, row + ids);
        }
        at(own_gradients, i).resize(at(own_logits, i).size());
        CrossEntropyArgs& own = at(args, i);
        own.rows = rows;
        own.vocabulary = ids;
        own.first_id = first;
        own.logits = at(own_logits, i).data();
        if (options.gradient && std::is_same_v<T, float>) own.gradient = own.logits;
        if (options.gradient && !std::is_same_v<T, float>) own.gradient = at(own_gradients, i).data();
        own.targets = targets.data();
        own.smoothing = smoothing;
        own.gradient_scale = gradient_scale;
        own.device_scale = options.device_scale;
        cross_entropy_parts(stream, own, all.data() + i * rows);
    }
    std::vector<VocabularySums> sums(all.size());
    const VocabularyParts of_all{all.data(), sums.data(), parts};
    for (int i = 0; i < parts; ++i) cross_entropy_sums(stream, at(args, i), of_all, sums.data() + i * rows);
    Outcome out;
    out.gradient.resize(logits.size());
    for (int i = 0; i < parts; ++i) {
        Outcome own{{},
                    std::vector<double>(targets.size(), -1),
                    std::vector<double>(targets.size(), -1),
                    std::vector<std::int64_t>(targets.size(), -1)};
        at(args, i).loss = own.loss.data();
        at(args, i).nll = own.nll.data();
        at(args, i).correct = own.correct.data();
        cross_entropy_of_parts(stream, at(args, i), of_all);
        if (i > 0) {
            EXPECT_TRUE(same_bits(own.loss, out.loss) && same_bits(own.nll, out.nll));
            EXPECT_EQ(own.correct, out.correct);
        }
        out.loss = own.loss, out.nll = own.nll, out.correct = own.correct;
        const std::int64_t ids = at(args, i).vocabulary;
        for (std::int64_t e = 0; e < rows * ids; ++e) {
            const std::int64_t to = e / ids * vocabulary + at(cuts, i) + e % ids;
            at(out.gradient, to) = std::is_same_v<T, float> || !options.gradient
                                       ? at(at(own_logits, i), e)
                                       : to_float(at(at(own_gradients, i), e));
        }
    }
    return out;
}

// uneven parts; some have one id, none, or the last ones only
const std::vector<Cuts> kCuts{{0, 65},    {0, 1, 65},      {0, 40, 65},           {0, 8, 24, 48, 65},
                              {0, 0, 65}, {0, 31, 31, 65}, {0, 0, 0, 33, 65, 65}, {0, 64, 65}};

TEST(CrossEntropyOfParts, MatchesFp64HoweverTheVocabularyIsCut) {
    for (const float deviation : {0.1f, 3.0f, 1e4f})  // the last: exponentials across parts are 0 or 1
        for (const double smoothing : {0.0, 0.1})
            for (const Cuts& cuts : kCuts) {
                SCOPED_TRACE(::testing::Message() << cuts.size() - 1 << " parts, the first " << cuts[1]);
                const std::vector<std::int32_t> targets = some_targets(65);
                const std::vector<float> logits = random_floats(kRows * 65, 2, deviation);
                const Outcome found = run_in_parts(cuts, logits, targets, smoothing, kScale);
                expect_fp64(found, 65, logits, targets, smoothing);
                EXPECT_EQ(run_in_parts(cuts, logits, targets, smoothing, kScale, {.threads = 3}), found);
                const Outcome no_gradient =
                    run_in_parts(cuts, logits, targets, smoothing, kScale, {.gradient = false});
                EXPECT_EQ(std::tie(no_gradient.loss, no_gradient.nll, no_gradient.correct),
                          std::tie(found.loss, found.nll, found.correct));
                EXPECT_EQ(no_gradient.gradient, logits);
            }
}

TEST(CrossEntropyOfParts, MatchesFp64WhereAPartSumsInSeveralBlocks) {
    const std::vector<std::int32_t> targets = some_targets(4099);
    const std::vector<float> logits = random_floats(kRows * 4099, 2, 3.0f);
    for (const Cuts& cuts : {Cuts{0, 2048, 4099}, Cuts{0, 7, 1500, 4099}})
        expect_fp64(run_in_parts(cuts, logits, targets, 0.1, kScale), 4099, logits, targets, 0.1);
}

TEST(CrossEntropyOfParts, HasTheBitsOfTheWholeWhereOnePartHasAllIds) {
    const std::vector<std::int32_t> targets = some_targets(333);
    for (const float deviation : {3.0f, 1e4f})
        for (const double smoothing : {0.0, 0.1}) {
            const std::vector<float> logits = random_floats(kRows * 333, 2, deviation);
            const Outcome whole = run(333, logits, targets, smoothing, kScale);
            for (const Cuts& cuts : {Cuts{0, 333}, Cuts{0, 0, 333}, Cuts{0, 333, 333}, Cuts{0, 0, 333, 333}})
                EXPECT_EQ(run_in_parts(cuts, logits, targets, smoothing, kScale), whole);
        }
}

TEST(CrossEntropyOfParts, OnlyTheFirstOfEqualLargestLogitsIsCorrect) {
    const std::vector<float> row{1, 5, 0, 5, 5, 2};
    std::vector<float> logits;
    for (int r = 0; r < 6; ++r) logits.insert(logits.end(), row.begin(), row.end());
    for (const Cuts& cuts : {Cuts{0, 6}, Cuts{0, 3, 6}, Cuts{0, 2, 2, 4, 6}, Cuts{0, 0, 1, 4, 6, 6}})
        EXPECT_EQ(run_in_parts(cuts, logits, {0, 1, 2, 3, 4, 5}, 0.0, 1.0f).correct,
                  (std::vector<std::int64_t>{0, 1, 0, 0, 0, 0}));
    // a part whose own largest is the target is not right where another part has a larger one
    const std::vector<float> ascending{1, 2, 3, 4};
    std::vector<float> twice = ascending;
    twice.insert(twice.end(), ascending.begin(), ascending.end());
    EXPECT_EQ(run_in_parts({0, 2, 4}, twice, {1, 3}, 0.0, 1.0f).correct, (std::vector<std::int64_t>{0, 1}));
}

TEST(CrossEntropyOfParts, StaysRightWherePartsLieFarApart) {
    // the parts' largest logits: 1e4 and -1e4, either way round, and both the same
    for (const float left : {1e4f, -1e4f})
        for (const float right : {1e4f, -1e4f}) {
            std::vector<float> logits = random_floats(kRows * 20, 3);
            for (std::int64_t i = 0; i < test::count(logits); ++i) at(logits, i) += i % 20 < 7 ? left : right;
            const std::vector<std::int32_t> targets = some_targets(20);
            for (const double smoothing : {0.0, 0.1})
                expect_fp64(run_in_parts({0, 7, 20}, logits, targets, smoothing, kScale), 20, logits, targets,
                            smoothing);
        }
}

template <class T>
void expect_rounded_once() {
    const std::vector<std::int32_t> targets = some_targets(65);
    const std::vector<float> logits = random_floats(kRows * 65, 2, 3.0f);
    Outcome wanted = run_in_parts({0, 8, 24, 65}, logits, targets, 0.1, kScale);
    for (float& gradient : wanted.gradient) gradient = to_float(from_float<T>(gradient));
    EXPECT_EQ(run_in_parts<T>({0, 8, 24, 65}, logits, targets, 0.1, kScale), wanted);
}

TEST(CrossEntropyOfParts, RoundsGradientsInSixteenBitsOnce) {
    expect_rounded_once<Bf16>();
    expect_rounded_once<F16>();
}

TEST(CrossEntropyOfParts, MultipliesTheScaleByTheDevices) {
    const std::vector<std::int32_t> targets = some_targets(65);
    const std::vector<float> logits = random_floats(kRows * 65, 2, 3.0f);
    const float half = 0.5f;
    EXPECT_EQ(run_in_parts({0, 8, 65}, logits, targets, 0.1, 0.25f, {.device_scale = &half}),
              run_in_parts({0, 8, 65}, logits, targets, 0.1, 0.125f));
}

TEST(CrossEntropyOfParts, OfNonFiniteLogitsIsNotFinite) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (const std::int64_t place : {0, 9, 18}) {
            std::vector<float> logits = random_floats(19, 5);
            at(logits, place) = bad;
            EXPECT_FALSE(std::isfinite(run_in_parts({0, 8, 11, 19}, logits, {3}, 0.0, 1.0f).loss[0]))
                << bad << " at " << place;
        }
}

}  // namespace
}  // namespace skein::kernels
