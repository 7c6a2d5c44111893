#include "model/kernels/cross_entropy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

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

void check(std::int64_t vocabulary, float deviation, double smoothing) {
    std::vector<std::int32_t> targets = random_ids(13, static_cast<std::int32_t>(vocabulary), 1);
    targets[4] = -1;
    targets[12] = -100;
    const std::vector<float> logits = random_floats(13 * vocabulary, 2, deviation);
    constexpr float kScale = 0.125f;
    const Outcome found = run(vocabulary, logits, targets, smoothing, kScale);
    EXPECT_EQ(run(vocabulary, logits, targets, smoothing, kScale, true, 2), found);
    EXPECT_EQ(run(vocabulary, logits, targets, smoothing, kScale, true, 3), found);
    const Outcome no_gradient = run(vocabulary, logits, targets, smoothing, kScale, false);
    EXPECT_EQ(no_gradient.loss, found.loss);
    EXPECT_EQ(no_gradient.nll, found.nll);
    EXPECT_EQ(no_gradient.correct, found.correct);
    EXPECT_EQ(no_gradient.gradient, logits);
    for (std::int64_t r = 0; r < 13; ++r) {
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

}  // namespace
}  // namespace skein::kernels
