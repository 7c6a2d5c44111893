#include "trainer/time_limit.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "tests/support/temporary_folder.h"
#include "trainer/slurm_job.h"

namespace skein {
namespace {

class TimeLimitTest : public testing::Test {
  protected:
    /// A limit of so many seconds, at whose very beginning it is now.
    TimeLimit limit_of(double seconds) {
        now_ = 0.0;
        TimeLimit limit([this] { return now_; });
        limit.add(seconds, seconds, "it is");
        return limit;
    }
    /// Seconds before the end when it is first said to be nearly over.
    double margin_of(const TimeLimit& limit, double end) {
        for (now_ = 0.0; !limit.is_nearly_over(); now_ += 0.125) {
        }
        return end - now_;
    }
    double now_ = 0.0;
};

// The clock moves in eighths of a second: the first look inside a margin is at most that much later.
constexpr double kLook = 0.125;

TEST_F(TimeLimitTest, LeavesRoomForTwoStepsTwoSavesAndAnEvaluation) {
    TimeLimit limit = limit_of(1000);
    limit.step_took(3);
    limit.step_took(2);
    limit.save_took(20);
    limit.save_took(15);
    limit.evaluation_took(7);
    limit.evaluation_took(6);
    EXPECT_DOUBLE_EQ(margin_of(limit, 1000), 2 * 3 + 2 * 20 + 7 - kLook);
}

TEST_F(TimeLimitTest, NeverStopsARunBeforeItsFirstStep) {
    TimeLimit limit = limit_of(1);
    now_ = 100;
    EXPECT_FALSE(limit.is_nearly_over());
    EXPECT_EQ(limit.reason(), "");
    limit.step_took(0.001);
    EXPECT_TRUE(limit.is_nearly_over());
    EXPECT_EQ(limit.reason(), "it is nearly over");
}

TEST_F(TimeLimitTest, TakesAFirstSaveForAQuarterOfTheLimitAtMostAMinute) {
    for (const auto& [seconds, save] : {std::pair{20.0, 5.0}, {240.0, 60.0}, {36000.0, 60.0}}) {
        TimeLimit limit = limit_of(seconds);
        limit.step_took(0.0);
        EXPECT_DOUBLE_EQ(margin_of(limit, seconds), save - kLook) << seconds;
    }
}

TEST_F(TimeLimitTest, LeavesSomeSecondsHoweverFastASaveIs) {
    for (const auto& [seconds, least] : {std::pair{20.0, 1.0}, {200.0, 10.0}, {36000.0, 10.0}}) {
        TimeLimit limit = limit_of(seconds);
        limit.step_took(0.0);
        limit.save_took(0.001);
        EXPECT_DOUBLE_EQ(margin_of(limit, seconds), least - kLook) << seconds;
    }
}

TEST_F(TimeLimitTest, ForgetsALongStepAfterAHundredOthersOrTwo) {
    TimeLimit limit = limit_of(1000);
    limit.save_took(10);
    limit.step_took(100);
    for (int step = 0; step < 100; ++step) limit.step_took(1);
    EXPECT_DOUBLE_EQ(margin_of(limit, 1000), 220 - kLook);
    for (int step = 0; step < 100; ++step) limit.step_took(1);
    EXPECT_DOUBLE_EQ(margin_of(limit, 1000), 22 - kLook);
}

TEST_F(TimeLimitTest, OfTwoTheFirstReachedCounts) {
    TimeLimit limit = limit_of(1000);
    limit.add(500, 500, "the job is");
    limit.step_took(1);
    limit.save_took(10);
    now_ = 480;
    EXPECT_EQ(limit.reason(), "the job is nearly over");
}

TEST_F(TimeLimitTest, ARunWithoutOneIsNeverOver) {
    TimeLimit limit([this] { return now_; });
    limit.step_took(1);
    now_ = 1e9;
    EXPECT_FALSE(limit.is_nearly_over());
}

TEST(TimeLimit, OfAProcessCountsFromItsStart) {
    TimeLimit over = time_limit_of_this_process(1), not_yet = time_limit_of_this_process(36000);
    over.step_took(1.0);  // with two such steps no limit of a second has room for another
    not_yet.step_took(1.0);
    EXPECT_EQ(over.reason(), "1s of --train.time-limit are nearly over");
    EXPECT_FALSE(not_yet.is_nearly_over());
}

/// A job in whose environment and search path a test has its hands.
class SlurmJob : public testing::Test {
  protected:
    SlurmJob() : path_(std::getenv("PATH")) {
        setenv("SLURM_JOB_ID", "41", 1);
        unsetenv("SLURM_JOB_END_TIME");
        setenv("PATH", (folder_.path() + ":" + path_).c_str(), 1);
    }
    ~SlurmJob() override {
        unsetenv("SLURM_JOB_ID");
        unsetenv("SLURM_JOB_END_TIME");
        setenv("PATH", path_.c_str(), 1);
    }
    void squeue(const std::string& body) {
        const std::string file = folder_ / "squeue";
        std::ofstream(file) << "#!/bin/sh\n" << body << "\n";
        ASSERT_EQ(chmod(file.c_str(), 0755), 0);
    }
    static void set_end(std::int64_t seconds_from_now) {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        const auto unix_time = std::chrono::duration_cast<std::chrono::seconds>(now).count();
        setenv("SLURM_JOB_END_TIME", std::to_string(unix_time + seconds_from_now).c_str(), 1);
    }

    TemporaryFolder folder_;
    const std::string path_;
};

TEST_F(SlurmJob, SaysItsEndInTheEnvironment) {
    squeue("echo 5:00");
    set_end(1000);
    const std::optional<double> left = seconds_left_of_slurm_job();
    ASSERT_TRUE(left);
    EXPECT_GT(*left, 300.0) << "squeue is not asked";
    EXPECT_LE(*left, 1000.0);
}

TEST_F(SlurmJob, ThatIsOverAlreadyIsNone) {
    squeue("echo 5:00");
    set_end(-10);
    EXPECT_EQ(seconds_left_of_slurm_job(), std::nullopt);
}

TEST_F(SlurmJob, IsAskedForByItsNumberWhereTheEnvironmentDoesNotSay) {
    squeue("[ \"$*\" = '-h -j 41 -o %L' ] && echo 1-02:03:04");
    EXPECT_EQ(seconds_left_of_slurm_job(), 86400.0 + 2 * 3600 + 184);
    unsetenv("SLURM_JOB_ID");
    EXPECT_EQ(seconds_left_of_slurm_job(), std::nullopt) << "this is no job";
}

TEST_F(SlurmJob, WithoutAnEndOrAnAnswerHasNoLimit) {
    for (const char* body : {"echo UNLIMITED", "echo INVALID", "", "echo 5:00; exit 1"}) {
        squeue(body);
        EXPECT_EQ(seconds_left_of_slurm_job(), std::nullopt) << body;
    }
    squeue("exec sleep 1000");
    EXPECT_EQ(seconds_left_of_slurm_job(0.01), std::nullopt) << "it is killed";
    setenv("PATH", folder_.path().c_str(), 1);
    std::remove((folder_ / "squeue").c_str());
    EXPECT_EQ(seconds_left_of_slurm_job(), std::nullopt) << "it is not there";
}

}  // namespace
}  // namespace skein
