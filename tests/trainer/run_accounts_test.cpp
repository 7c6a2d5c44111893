#include "trainer/run_accounts.h"
#include "trainer/clock.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/temporary_folder.h"
#include "trainer/run_log.h"

namespace skein {
namespace {

using Json = nlohmann::json;

/// A clock that a test sets.
struct FakeTime {
    double seconds = 1000.0;
    std::function<double()> now() {
        return [this] { return seconds; };
    }
};

TEST(RunClock, EverySecondBelongsToOneUse) {
    FakeTime time;
    RunClock clock(2.0, time.now());
    time.seconds += 3.0;  // loading
    clock.enter(TimeUse::kProductive);
    time.seconds += 10.0;
    {
        const RunClock::Scope evaluates(clock, TimeUse::kEvaluating);
        time.seconds += 4.0;
        {
            const RunClock::Scope saves(clock, TimeUse::kSaving);
            time.seconds += 1.0;
        }
        time.seconds += 0.5;
    }
    time.seconds += 20.0;
    EXPECT_EQ(clock.seconds(TimeUse::kRestarting), 5.0);
    EXPECT_EQ(clock.seconds(TimeUse::kProductive), 30.0);
    EXPECT_EQ(clock.seconds(TimeUse::kEvaluating), 4.5);
    EXPECT_EQ(clock.seconds(TimeUse::kSaving), 1.0);
}

TEST(RunClock, TheProcessIsOlderThanItsMain) {
    EXPECT_GT(age_of_this_process(), 0.0);
    EXPECT_LT(age_of_this_process(), 3600.0) << "of this test";
}

TEST(RunClock, AnEndSaysWhereTheTimeWent) {
    FakeTime time;
    RunClock clock(0.0, time.now());
    time.seconds += 1.0;
    clock.enter(TimeUse::kProductive);
    time.seconds += 3.0;
    const Json line =
        Json::parse(end_line({"failed", 12, "rank 1 on b (step 12): out of memory", 70}, clock));
    EXPECT_EQ(line["event"], "end");
    EXPECT_EQ(line["how"], "failed");
    EXPECT_EQ(line["step"], 12);
    EXPECT_EQ(line["error"], "rank 1 on b (step 12): out of memory");
    EXPECT_EQ(line["code"], 70);
    EXPECT_EQ(line["seconds"]["restarting"], 1.0);
    EXPECT_EQ(line["seconds"]["productive"], 3.0);
    EXPECT_EQ(line["seconds"]["lost"], 0.0);
    EXPECT_EQ(line["useful"], 0.75);
    EXPECT_FALSE(Json::parse(end_line({"finished", 12, "", 0}, clock)).contains("error"));
}

class RunAccountsTest : public testing::Test {
  protected:
    // Ten o'clock, in seconds since 1970.
    static constexpr double kTen = 1795255200.0;

    void started(std::uint64_t step, double lost = 0.0) {
        Json line{{"event", "start"},
                  {"start", utc_time(static_cast<std::time_t>(kTen))},
                  {"step", step},
                  {"restarting", 2.0}};
        if (lost > 0.0) line["lost"] = lost;
        append_run_line(folder_.path(), line.dump());
    }
    /// Steps that took two seconds each, a line for each of `steps`.
    void logged(const std::vector<int>& steps) {
        std::ofstream log(folder_ / "log.jsonl", std::ios::app);
        for (const int step : steps)
            log << Json{{"step", step}, {"loss", 1.0}, {"seconds", 2.0}}.dump() << "\n"
                << Json{{"step", step}, {"valid_loss", 1.0}}.dump() << "\n";
    }
    void ended(const std::string& how, double productive) {
        append_run_line(folder_.path(),
                        Json{{"event", "end"},
                             {"end", "2026-11-21T11:00:00Z"},
                             {"how", how},
                             {"seconds", {{"restarting", 1.0}, {"productive", productive}, {"saving", 3.0}}}}
                            .dump());
    }
    Json last_line() const {
        std::ifstream in(folder_ / "runs.jsonl");
        std::string line, last;
        while (std::getline(in, line)) last = line;
        return Json::parse(last);
    }
    double settle(std::uint64_t step, double sign_of_life = 0.0) {
        return settle_run_accounts(folder_.path(), step, sign_of_life);
    }

    TemporaryFolder folder_;
};

TEST_F(RunAccountsTest, AStartThatWasKilledGetsItsEndFromTheNext) {
    started(0);
    logged({1, 2, 3, 4, 5, 6, 7});
    EXPECT_EQ(settle(5, kTen + 20.0), 0.0) << "it is in the line of the one that died";
    const Json line = last_line();
    EXPECT_EQ(line["event"], "end");
    EXPECT_EQ(line["how"], "died");
    EXPECT_EQ(line["end"], utc_time(static_cast<std::time_t>(kTen) + 20));
    EXPECT_EQ(line["step"], 7);
    EXPECT_EQ(line["seconds"]["restarting"], 2.0);
    EXPECT_EQ(line["seconds"]["productive"], 10.0) << "steps 1 to 5 are kept";
    EXPECT_EQ(line["seconds"]["lost"], 4.0) << "steps 6 and 7 are not";
    EXPECT_EQ(line["seconds"]["other"], 6.0) << "until the last sign of life";
    EXPECT_EQ(line["useful"], 0.4545) << "10 of 22";
}

TEST_F(RunAccountsTest, ALineStandsForTheStepsSinceTheOneBefore) {
    started(0);
    logged({10, 20, 30});
    settle(25, kTen);
    EXPECT_EQ(last_line()["seconds"]["productive"], 50.0);
    EXPECT_EQ(last_line()["seconds"]["lost"], 10.0);
}

TEST_F(RunAccountsTest, WhatAnEndedStartDidAndIsThrownAwayIsLost) {
    started(0);
    logged({1, 2, 3, 4});
    ended("stopped", 8.0);
    EXPECT_EQ(settle(4), 0.0);
    EXPECT_EQ(settle(1), 6.0);
    EXPECT_EQ(last_line()["how"], "stopped") << "it has its end";
}

TEST_F(RunAccountsTest, WhatADeadStartThrewAwayIsNotCountedTwice) {
    started(0);
    logged({1, 2, 3, 4});
    ended("stopped", 8.0);
    started(4);
    logged({5, 6});
    EXPECT_EQ(settle(2, kTen), 4.0) << "steps 3 and 4, of the first start";
    EXPECT_EQ(last_line()["seconds"]["productive"], 0.0);
    EXPECT_EQ(last_line()["seconds"]["lost"], 4.0) << "steps 5 and 6";
}

TEST_F(RunAccountsTest, AFirstStartHasNothingToSettle) {
    EXPECT_EQ(settle(0), 0.0);
    EXPECT_FALSE(std::ifstream(folder_ / "runs.jsonl"));
    EXPECT_FALSE(read_run_totals(folder_.path()));
}

TEST_F(RunAccountsTest, ALineThatWasTornStandsAloneAndCountsForNothing) {
    started(0);
    std::ofstream(folder_ / "runs.jsonl", std::ios::app) << R"({"event":"end","how":"fin)";
    logged({1});
    settle(1, kTen);
    EXPECT_EQ(last_line()["how"], "died");
    EXPECT_EQ(read_run_totals(folder_.path())->starts, 1);
}

TEST_F(RunAccountsTest, TotalsAreOverAllStarts) {
    started(0);
    EXPECT_EQ(read_run_totals(folder_.path())->useful(), std::nullopt) << "it runs";
    ended("stopped", 16.0);
    ended("failed", 16.0);  // told by two ranks
    started(2, 6.0);
    ended("finished", 10.0);
    const RunTotals totals = read_run_totals(folder_.path()).value();
    EXPECT_EQ(totals.starts, 2);
    EXPECT_EQ(totals.productive, 20.0) << "without what the second start threw away";
    EXPECT_EQ(totals.lost, 6.0);
    EXPECT_EQ(totals.saving, 6.0);
    EXPECT_EQ(totals.restarting, 2.0);
    EXPECT_EQ(totals.useful(), 0.5882) << "20 of 34";
}

TEST_F(RunAccountsTest, TheLastSignOfLifeIsTheLogOrTheLock) {
    EXPECT_EQ(last_sign_of_life(folder_.path()), 0.0);
    logged({1});
    const double log = last_sign_of_life(folder_.path());
    EXPECT_GT(log, 0.0);
    std::ofstream(folder_ / "lock") << "x";
    std::filesystem::last_write_time(
        folder_ / "lock", std::filesystem::last_write_time(folder_ / "log.jsonl") + std::chrono::seconds(7));
    EXPECT_NEAR(last_sign_of_life(folder_.path()), log + 7.0, 1e-3) << "a clock's last digits";
}

}  // namespace
}  // namespace skein
