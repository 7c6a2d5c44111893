#include "parallel/patience.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

WaitClock::Time at(double seconds) {
    return WaitClock::Time{} + std::chrono::hours(1) +
           std::chrono::duration_cast<WaitClock::Time::duration>(std::chrono::duration<double>(seconds));
}

Patience patience_of(double seconds) {
    Patience patience;
    patience.seconds = seconds;
    return patience;
}

TEST(Patience, ThePhaseIsWhatTheRankIsAtAndTheStep) {
    Patience patience;
    EXPECT_EQ(patience.phase(), "start");
    patience.set_phase("evaluation at step", 250);
    EXPECT_EQ(patience.phase(), "evaluation at step 250");
    patience.set_phase("loading");
    EXPECT_EQ(patience.phase(), "loading");
}

TEST(WaitClock, CountsFromTheFirstLook) {
    const Patience patience = patience_of(4.0);
    WaitClock clock;
    for (int i = 0; i <= 16; ++i) {
        clock.look(at(100.0 + 0.25 * i), patience);
        EXPECT_FALSE(clock.is_over(patience)) << i;
    }
    clock.look(at(104.25), patience);
    EXPECT_TRUE(clock.is_over(patience));
}

TEST(WaitClock, ARankThatWasStoppedItselfDoesNotBlameTheOthers) {
    const Patience patience = patience_of(600.0);
    WaitClock clock;
    clock.look(at(0.0), patience);
    clock.look(at(3600.0), patience);  // counts a second
    EXPECT_FALSE(clock.is_over(patience));
    for (int i = 0; i < 599; ++i) clock.look(at(3601.0 + i), patience);
    EXPECT_FALSE(clock.is_over(patience));
    clock.look(at(4200.0), patience);
    EXPECT_TRUE(clock.is_over(patience));
}

TEST(WaitClock, ManyLooksAreNeededHoweverShortThePatience) {
    const Patience patience = patience_of(0.001);
    WaitClock clock;
    int looks = 0;
    while (!clock.is_over(patience)) clock.look(at(10.0 * looks++), patience);
    EXPECT_GE(looks, 10);
}

TEST(WaitClock, WhatIsExemptStartsItAgain) {
    Patience patience = patience_of(3.0);
    WaitClock clock;
    for (const double when : {0.0, 0.3, 0.6, 0.9}) clock.look(at(when), patience);
    {
        const Patience::Exemption one(patience), two(patience);
        EXPECT_TRUE(patience.is_exempt());
        for (int i = 0; i < 100; ++i) clock.look(at(1.0 + 0.25 * i), patience);
        EXPECT_FALSE(clock.is_over(patience));
    }
    EXPECT_FALSE(patience.is_exempt());
    for (int i = 0; i < 12; ++i) clock.look(at(26.0 + 0.25 * i), patience);
    EXPECT_FALSE(clock.is_over(patience));
    clock.look(at(29.25), patience);
    EXPECT_TRUE(clock.is_over(patience));
}

TEST(EndWait, CountsOnceSomebodyHasAsked) {
    Patience patience;
    EndWait wait;
    for (int i = 0; i < 1000; ++i) wait.look(at(0.01 * i), patience);
    EXPECT_FALSE(wait.is_over()) << "nobody can ask";
    patience.asked_to_end = [] { return false; };
    for (int i = 0; i < 1000; ++i) wait.look(at(0.01 * i), patience);
    EXPECT_FALSE(wait.is_over()) << "nobody has asked";
    patience.asked_to_end = [] { return true; };
    for (int i = 0; i < 25; ++i) wait.look(at(20.0 + 0.01 * i), patience);
    EXPECT_FALSE(wait.is_over());
    for (int i = 25; i < 30; ++i) wait.look(at(20.0 + 0.01 * i), patience);
    EXPECT_TRUE(wait.is_over());
}

TEST(EndWait, ARankThatComputesMeanwhileDoesNotWait) {
    Patience patience;
    patience.asked_to_end = [] { return true; };
    EndWait wait;
    for (int i = 0; i < 5; ++i) wait.look(at(10.0 * i), patience);
    EXPECT_FALSE(wait.is_over());
}

}  // namespace
}  // namespace skein
