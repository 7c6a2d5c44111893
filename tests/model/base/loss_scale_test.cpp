#include "model/base/loss_scale.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

LossScaleState after(LossScaleState state, const LossScaleRule& rule, const char* steps) {
    for (const char* step = steps; *step; ++step) state = after_step(state, rule, *step == 'o');
    return state;
}

TEST(LossScale, AnOverflowHalvesItAndManyGoodStepsInARowDoubleIt) {
    const LossScaleRule rule{.interval = 3};
    EXPECT_EQ(after({64.0}, rule, "..").scale, 64.0);
    EXPECT_EQ(after({64.0}, rule, "..."), (LossScaleState{128.0, 0, 0}));
    EXPECT_EQ(after({64.0}, rule, "o"), (LossScaleState{32.0, 0, 1}));
    EXPECT_EQ(after({64.0}, rule, "..o.."), (LossScaleState{32.0, 2, 1})) << "the count starts again";
    EXPECT_EQ(after({64.0}, rule, "ooo...").scale, 16.0);
    EXPECT_EQ(after({64.0}, {4.0, 0.25, 2, 1}, "o..").scale, 64.0) << "the factors are the rule's";
}

TEST(LossScale, HysteresisForgivesTheFirstOverflowsSinceItLastGrew) {
    const LossScaleRule rule{.interval = 3, .hysteresis = 2};
    EXPECT_EQ(after({64.0}, rule, "o").scale, 64.0);
    EXPECT_EQ(after({64.0}, rule, "o..o").scale, 32.0) << "not only those in a row, as Megatron has it";
    EXPECT_EQ(after({64.0}, rule, "ooo").scale, 16.0) << "from then on each";
    EXPECT_EQ(after({64.0}, rule, "oo...o").scale, 64.0) << "grown again, it forgives again";
}

TEST(LossScale, StaysWithinItsBounds) {
    EXPECT_EQ(after({1.5}, {}, "oo").scale, kLeastLossScale);
    const LossScaleRule rule{.interval = 1};
    EXPECT_EQ(after({kMostLossScale / 2.0}, rule, "..").scale, kMostLossScale);
}

}  // namespace
}  // namespace skein
