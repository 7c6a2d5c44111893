#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace skein {
namespace {

// Peak 1, floor 0.1, warm-up 20 of 100 updates.
Schedule schedule(ScheduleKind kind) {
    return {{.kind = kind, .peak = 1.0, .floor = 0.1, .warmup = "20", .decay_share = 0.2}, 100, 512};
}

constexpr ScheduleKind kAllButNoam[] = {ScheduleKind::kConstant, ScheduleKind::kLinear, ScheduleKind::kCosine,
                                        ScheduleKind::kInverseSqrt, ScheduleKind::kWsd};

TEST(Schedule, WarmUpRisesLinearlyFromZeroToThePeak) {
    for (const ScheduleKind kind : kAllButNoam) {
        const Schedule rising = schedule(kind);
        EXPECT_EQ(rising.rate(0), 0.0);
        EXPECT_DOUBLE_EQ(rising.rate(1), 0.05);
        EXPECT_DOUBLE_EQ(rising.rate(10), 0.5);
        EXPECT_DOUBLE_EQ(rising.rate(20), 1.0);
    }
}

TEST(Schedule, FollowsItsFormulaAfterWarmUp) {
    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kConstant).rate(1000), 1.0);

    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kLinear).rate(40), 1.0 - 0.9 * 0.25);
    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kLinear).rate(60), 0.55);

    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kCosine).rate(40),
                     0.1 + 0.45 * (1.0 + std::cos(std::numbers::pi / 4.0)));
    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kCosine).rate(60), 0.55);

    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kInverseSqrt).rate(80), 0.5);
    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kInverseSqrt).rate(20 * 10'000), 0.1) << "never below the floor";

    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kWsd).rate(80), 1.0);
    EXPECT_DOUBLE_EQ(schedule(ScheduleKind::kWsd).rate(90), 0.55);

    for (const ScheduleKind kind : {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWsd}) {
        EXPECT_DOUBLE_EQ(schedule(kind).rate(100), 0.1);
        EXPECT_DOUBLE_EQ(schedule(kind).rate(500), 0.1) << "stays at the floor beyond the horizon";
    }
}

TEST(Schedule, NoamIsThePapersFormula) {
    const Schedule noam({.kind = ScheduleKind::kNoam, .peak = 2.0, .warmup = "4000"}, 100'000, 512);
    for (const int update : {1, 100, 3999, 4000, 4001, 100'000})
        EXPECT_DOUBLE_EQ(
            noam.rate(update),
            2.0 * std::pow(512.0, -0.5) * std::min(std::pow(update, -0.5), update * std::pow(4000.0, -1.5)))
            << update;
}

TEST(Schedule, WarmUpMayBeAShareOfTheHorizon) {
    EXPECT_EQ(Schedule({.warmup = "2%"}, 1000, 512).warmup(), 20);
    const Schedule none({.kind = ScheduleKind::kConstant, .peak = 0.5, .warmup = "0"}, 1000, 512);
    EXPECT_DOUBLE_EQ(none.rate(1), 0.5);
}

}  // namespace
}  // namespace skein
