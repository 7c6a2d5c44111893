// A run of two ranks, of which one is killed at a system call of a save.

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "tests/support/program.h"
#include "tests/trainer/saving_run.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

class KilledSaves : public testing::Test {
  protected:
    KilledSaves() {
        SavingRun::begin(folder_.path());
        fs::rename(folder_ / "run", folder_ / "begun");
    }

    Outcome disturbed(int rank, int call) {
        fs::remove_all(folder_ / "run");
        fs::copy(folder_ / "begun", folder_ / "run", fs::copy_options::recursive);
        return run_skein({folder_.path(), std::to_string(rank), std::to_string(call)}, 2);
    }
    SavingRun run() const { return {folder_.path(), folder_ / "run", {}}; }

    const TemporaryFolder folder_;
};

/// What must be the newest checkpoint when the process dies at call number `at`, before it is made.
int newest_before(const std::vector<std::string>& calls, int rank, int at) {
    int newest = kFirstStep;
    for (int i = 1; i < at; ++i) {
        const std::string& call = calls[static_cast<std::size_t>(i) - 1];
        const int step = step_in(call);
        if (rank == 0 && call[0] == '!') newest = step;
        // Its file of another step than that which it is killed at was done, and is published.
        if (rank != 0 && step != step_in(calls[static_cast<std::size_t>(at) - 1])) newest = step;
    }
    return newest;
}

TEST_F(KilledSaves, LoseNothingThatWasGood) {
    const Outcome whole = disturbed(0, -1);
    ASSERT_EQ(whole.code, 0) << whole.errors;
    const std::string undisturbed = run().end();
    const int stride = stride_of_calls(23);
    int points = 0, renames = 0;
    std::set<int> found;
    for (int rank = 0; rank < 2; ++rank) {
        const std::vector<std::string> calls =
            lines_of(contents(folder_ / ("calls-" + std::to_string(rank))));
        ASSERT_GT(calls.size(), 60u);
        for (int at = 1 + rank; at <= std::ssize(calls); ++at) {
            // where calls are left out, those around a checkpoint's getting its name stay in
            const bool publishes = calls[static_cast<std::size_t>(at) - 1][0] == '!';
            if (stride > 1 && at % stride != 1 && !(publishes && renames++ % 2 == 0)) continue;
            SCOPED_TRACE(text("rank ", rank, " killed at call ", at, " of ", calls.size(), ": ",
                              calls[static_cast<std::size_t>(at) - 1]));
            const Outcome outcome = disturbed(rank, at);
            EXPECT_NE(outcome.code, 0);
            const int newest = run().newest();
            EXPECT_EQ(newest, newest_before(calls, rank, at));
            EXPECT_EQ(run().end(), undisturbed);
            found.insert(newest);
            ++points;
        }
    }
    EXPECT_GE(found.size(), 3u);
    std::printf("%d points on two ranks\n", points);
}

}  // namespace
}  // namespace skein
