#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_training.h"
#include "trainer/option_values.h"

namespace skein {
namespace {

TEST(TrainingStep, GivesTheSameBitsForAnyNumberOfThreads) {
    Training one(small_config());
    std::vector<double> losses;
    for (int i = 0; i < 4; ++i) losses.push_back(one.run(i).loss);
    EXPECT_FALSE(same_bits(values_of(one.parameters()), values_of(Training(small_config()).parameters())));
    for (const int threads : {2, 3}) {
        Training other(small_config(), threads);
        for (int i = 0; i < 4; ++i) EXPECT_EQ(other.run(i).loss, losses[static_cast<std::size_t>(i)]);
        EXPECT_TRUE(same_bits(values_of(other.parameters()), values_of(one.parameters()))) << threads;
    }
}

TEST(TrainingStep, PassesOfAnySizeGiveTheSameGradientUpToRounding) {
    Training whole(small_config({{"model.dropout", "0"}})),
        cut(small_config({{"model.dropout", "0"}, {"train.micro-batch", "2"}}));
    const StepOutcome one = whole.run(0), other = cut.run(0);
    // fp32 sums of some hundred terms in another order
    EXPECT_NEAR(one.loss, other.loss, 1e-6 * one.loss);
    EXPECT_NEAR(one.gradient_norm, other.gradient_norm, 1e-5 * one.gradient_norm);
}

TEST(TrainingStep, LanesOfUnequalSizeGiveTheSameGradientUpToRounding) {
    // 12 samples in eight lanes of one or two; dropout goes by the sample's number in the batch
    Training whole(small_config({{"parallel.lanes", "1"}})), cut(small_config({{"parallel.lanes", "8"}}));
    const StepOutcome one = whole.run(0), other = cut.run(0);
    // fp32 sums of some hundred terms in another order
    EXPECT_NEAR(one.loss, other.loss, 1e-6 * one.loss);
    EXPECT_NEAR(one.gradient_norm, other.gradient_norm, 1e-5 * one.gradient_norm);
}

TEST(TrainingStep, SkipsWhenSomethingIsNotFinite) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        Training training(small_config());
        training.run(0);
        training.parameters()[0].leaf.value.span<float>()[3] = bad;
        const std::vector<float> before = values_of(training.parameters()),
                                 moments = training.first_moments();
        const StepOutcome outcome = training.run(1);
        EXPECT_TRUE(outcome.skipped);
        EXPECT_TRUE(same_bits(values_of(training.parameters()), before)) << "nothing is updated";
        EXPECT_TRUE(same_bits(training.first_moments(), moments));

        training.parameters()[0].leaf.value.span<float>()[3] = 0.0f;
        EXPECT_FALSE(training.run(2).skipped) << "and it goes on when it is finite again";
    }
}

TEST(TrainingStep, ClipsByTheGlobalNorm) {
    Training free(small_config({{"train.clip", "0"}}));
    const double norm = free.run(0).gradient_norm;
    Training clipped(small_config({{"train.clip", number_text(norm / 4.0)}}));
    EXPECT_EQ(clipped.run(0).gradient_norm, norm) << "the norm is told as it was before clipping";
    Training loose(small_config({{"train.clip", number_text(norm * 4.0)}}));
    loose.run(0);
    // After one update the first moment is (1 - beta1) times the gradient that the optimizer saw. A quarter
    // is exact but for the rounding of the factor itself.
    const std::vector<float> full = free.first_moments(), quarter = clipped.first_moments();
    EXPECT_TRUE(same_bits(loose.first_moments(), full));
    for (std::size_t i = 0; i < full.size(); ++i)
        ASSERT_NEAR(quarter[i], full[i] / 4.0f, 1e-6f * std::abs(full[i]));
}

TEST(TrainingStep, StepsMayBeStartedBeforeTheLastOneIsToldOf) {
    for (const char* precision : {"fp32", "fp16"}) {
        // fp16 from a scale that overflows at first: the host does not know yet which update it starts
        const RunConfig config =
            small_config({{"train.precision", precision}, {"train.loss-scale-start", "1e9"}});
        Training one(config), ahead(config);
        std::vector<StepOutcome> wanted, found;
        for (int i = 0; i < 12; ++i) wanted.push_back(one.run(i));
        ahead.step.start(ahead.batch(0), 0, 0);
        for (int i = 1; i < 12; ++i) {
            ahead.step.start(ahead.batch(i), i, 0);
            EXPECT_THROW(ahead.step.start(ahead.batch(i), i, 0), Error) << "two are under way";
            found.push_back(ahead.step.finish());
        }
        found.push_back(ahead.step.finish());
        EXPECT_THROW(ahead.step.finish(), Error) << "none is";
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            EXPECT_EQ(found[i].loss, wanted[i].loss);
            EXPECT_EQ(found[i].learning_rate, wanted[i].learning_rate);
            EXPECT_EQ(found[i].updates, wanted[i].updates);
            EXPECT_EQ(found[i].next_loss_scale, wanted[i].next_loss_scale);
        }
        EXPECT_TRUE(same_bits(values_of(ahead.parameters()), values_of(one.parameters())));
    }
}

TEST(TrainingStep, TellsTheFlagsOfAllRanksBack) {
    Training training(small_config());
    EXPECT_EQ(training.step.run(training.batch(0), 0, 5).flags, 5u);
    on_ranks(3, [&](Communicator& data) {
        Training rank(small_config(), 1, &data);
        const std::uint64_t flag = data.rank() == 1 ? 4 : 0;
        EXPECT_EQ(rank.step.run(rank.batch(0), 0, flag).flags, 4u) << "rank " << data.rank();
    });
}

}  // namespace
}  // namespace skein
