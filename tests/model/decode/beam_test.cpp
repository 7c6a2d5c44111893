// One sentence's beam search on logits written by hand.
#include "model/decode/beam.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace skein {
namespace {

constexpr std::int32_t kEnd = 0;

/// Rows of probabilities as logits, and what Predictions would say of them.
class Step {
  public:
    explicit Step(std::vector<std::vector<double>> probabilities) {
        for (const auto& row : probabilities) {
            logits_.emplace_back();
            for (const double p : row) logits_.back().push_back(static_cast<float>(std::log(p)));
        }
    }
    std::vector<SentenceBeams::Row> rows() const {
        std::vector<SentenceBeams::Row> rows;
        for (const auto& logits : logits_) {
            const auto best = std::ranges::max_element(logits);
            double total = 0.0;
            for (const float logit : logits)
                total += std::exp(static_cast<double>(logit) - static_cast<double>(*best));
            rows.push_back({logits, static_cast<std::int32_t>(best - logits.begin()), std::log(total)});
        }
        return rows;
    }

  private:
    std::vector<std::vector<float>> logits_;
};

BeamOptions two_beams() {
    BeamOptions options;
    options.beams = options.best = 2;
    options.alpha = 0.0;
    options.end = kEnd;
    return options;
}

TEST(SentenceBeams, FollowsTheLikeliestPrefixesAndReordersThem) {
    const BeamOptions options = two_beams();
    SentenceBeams beams(options, 9);
    beams.extend(Step({{0.01, 0.5, 0.4, 0.09}}).rows());
    EXPECT_EQ(beams.token(0), 1);
    EXPECT_EQ(beams.token(1), 2);
    EXPECT_EQ(beams.parent(1), 0) << "both come from the only beam there was";
    // 2 3 (0.4 · 0.9) overtakes 1 1 (0.5 · 0.6)
    beams.extend(Step({{0.1, 0.6, 0.2, 0.1}, {0.02, 0.03, 0.05, 0.9}}).rows());
    EXPECT_EQ(beams.token(0), 3);
    EXPECT_EQ(beams.parent(0), 1);
    EXPECT_EQ(beams.token(1), 1);
    EXPECT_EQ(beams.parent(1), 0);
    EXPECT_FALSE(beams.done());
    beams.extend(Step({{0.9, 0.05, 0.04, 0.01}, {0.9, 0.05, 0.04, 0.01}}).rows());
    ASSERT_TRUE(beams.done());
    const std::vector<Hypothesis> best = beams.best();
    ASSERT_EQ(best.size(), 2u);
    EXPECT_EQ(best[0].ids, (std::vector<std::int32_t>{2, 3}));
    EXPECT_EQ(best[1].ids, (std::vector<std::int32_t>{1, 1}));
    EXPECT_NEAR(best[0].log_probability, std::log(0.4 * 0.9 * 0.9), 1e-6);  // logits are floats
    EXPECT_EQ(best[0].score, best[0].log_probability);
}

TEST(SentenceBeams, OfEqualsTakesTheEarlierBeamThenTheSmallerId) {
    const BeamOptions options = two_beams();
    SentenceBeams beams(options, 9);
    beams.extend(Step({{0.25, 0.25, 0.25, 0.25}}).rows());  // the end is first of all, 1 second; 2 goes on
    EXPECT_EQ(beams.token(0), 1);
    EXPECT_EQ(beams.token(1), 2);
    beams.extend(Step({{0.1, 0.3, 0.3, 0.3}, {0.1, 0.3, 0.3, 0.3}}).rows());
    EXPECT_EQ(beams.parent(0), 0);
    EXPECT_EQ(beams.parent(1), 0);
    EXPECT_EQ(beams.token(0), 1);
    EXPECT_EQ(beams.token(1), 2);
}

TEST(SentenceBeams, AnEndBelowTheBeamsDoesNotCount) {
    const BeamOptions options = two_beams();
    SentenceBeams beams(options, 9);
    beams.extend(Step({{0.1, 0.5, 0.4}}).rows());
    // "1 end" 0.4, "2 1" 0.24, and only then "2 end" 0.12
    beams.extend(Step({{0.8, 0.1, 0.1}, {0.3, 0.6, 0.1}}).rows());
    ASSERT_EQ(beams.best().size(), 1u);
    EXPECT_EQ(beams.best()[0].ids, (std::vector<std::int32_t>{1}));
    EXPECT_FALSE(beams.done());
    EXPECT_EQ(beams.token(0), 1);
    EXPECT_EQ(beams.parent(0), 1);
}

TEST(SentenceBeams, AtTheLongestLengthOnlyTheEndIsLeft) {
    const BeamOptions options = two_beams();
    SentenceBeams beams(options, 1);
    beams.extend(Step({{0.01, 0.5, 0.4, 0.09}}).rows());
    ASSERT_FALSE(beams.done());
    beams.extend(Step({{0.1, 0.6, 0.2, 0.1}, {0.3, 0.3, 0.2, 0.2}}).rows());
    ASSERT_TRUE(beams.done());
    ASSERT_EQ(beams.best().size(), 2u);
    EXPECT_EQ(beams.best()[0].ids, (std::vector<std::int32_t>{2}));
    EXPECT_NEAR(beams.best()[0].log_probability, std::log(0.4 * 0.3), 1e-6);
    EXPECT_EQ(beams.best()[1].ids, (std::vector<std::int32_t>{1}));
}

TEST(SentenceBeams, TheLengthPenaltyCountsTheEndToken) {
    for (const LengthPenalty penalty : {LengthPenalty::kPower, LengthPenalty::kGnmt}) {
        BeamOptions options = two_beams();
        options.beams = options.best = 1;
        options.penalty = penalty;
        options.alpha = 0.6;
        SentenceBeams beams(options, 9);
        beams.extend(Step({{0.1, 0.5, 0.4}}).rows());
        beams.extend(Step({{0.1, 0.5, 0.4}}).rows());
        beams.extend(Step({{0.8, 0.1, 0.1}}).rows());
        ASSERT_TRUE(beams.done());
        const Hypothesis best = beams.best()[0];
        EXPECT_EQ(best.ids, (std::vector<std::int32_t>{1, 1}));
        const double length = penalty == LengthPenalty::kPower ? 3.0 : 8.0 / 6.0;
        EXPECT_NEAR(best.score, std::log(0.5 * 0.5 * 0.8) / std::pow(length, 0.6), 1e-6);
    }
}

TEST(SentenceBeams, GoesOnWhileALongerOneMayScoreBetter) {
    // "end" and "1 end" finish early; the penalty lets the longer "2 1 1 end" win
    BeamOptions options = two_beams();
    options.penalty = LengthPenalty::kPower;
    options.alpha = 2.0;
    SentenceBeams beams(options, 9);
    beams.extend(Step({{0.3, 0.29, 0.41}}).rows());
    beams.extend(Step({{0.02, 0.97, 0.01}, {0.97, 0.02, 0.01}}).rows());
    ASSERT_FALSE(beams.done());
    beams.extend(Step({{0.02, 0.97, 0.01}, {0.1, 0.8, 0.1}}).rows());
    ASSERT_FALSE(beams.done());
    beams.extend(Step({{0.97, 0.02, 0.01}, {0.97, 0.02, 0.01}}).rows());
    EXPECT_EQ(beams.best()[0].ids, (std::vector<std::int32_t>{2, 1, 1}));
}

TEST(SentenceBeams, ATokenOfProbabilityZeroIsNeverTakenWhileOthersAreLeft) {
    const BeamOptions options = two_beams();
    SentenceBeams beams(options, 1);
    beams.extend(Step({{0.0, 1.0, 0.0, 0.0}}).rows());
    beams.extend(Step({{1.0, 0.0, 0.0, 0.0}, {1.0, 0.0, 0.0, 0.0}}).rows());
    ASSERT_TRUE(beams.done());
    EXPECT_EQ(beams.best()[0].ids, (std::vector<std::int32_t>{1}));
    EXPECT_EQ(beams.best()[0].log_probability, 0.0);
}

}  // namespace
}  // namespace skein
