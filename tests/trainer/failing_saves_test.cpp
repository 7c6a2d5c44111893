// A run of two ranks whose saves, in the background, meet an error at a system call on one of them.

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "parallel/mpi_communicator.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/saving_run.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Mode = FaultySystem::Mode;

class FailingSaves : public testing::Test {
  protected:
    FailingSaves() {
        if (rank_ == 0) {
            SavingRun::begin(folder_.path());
            fs::rename(folder_ / "run", folder_ / "begun");
        }
        world_.barrier();
    }

    SavingRun run() { return {shared_, shared_ + "/run", {}}; }

    struct End {
        std::string thrown;  ///< on this rank
        int published = kFirstStep;
        std::vector<std::string> lines;
    };

    /// Collective. From the run's beginning on; what rank 0 last gave its name to is `published`.
    End disturbed(FaultySystem& mine, bool background = true) {
        if (rank_ == 0) {
            fs::remove_all(shared_ + "/run");
            fs::copy(shared_ + "/begun", shared_ + "/run", fs::copy_options::recursive);
        }
        world_.barrier();
        SavingRun one = run();
        End end;
        try {
            one.train(world_, mine, kDisturbedStep, background);
        } catch (const std::runtime_error& error) {
            end.thrown = error.what();
        }
        if (rank_ == 0 && !mine.published().empty())
            end.published = step_in(mine.paths()[static_cast<std::size_t>(mine.published().back()) - 1]);
        end.lines = one.lines;
        world_.barrier();
        return end;
    }

    MpiSession session_;
    MpiCommunicator world_{session_};
    int rank_ = world_.rank();
    const TemporaryFolder folder_;
    const std::string shared_ = world_.broadcast_text(folder_.path(), 0);
};

TEST_F(FailingSaves, LoseNothingThatWasGood) {
    ASSERT_EQ(world_.size(), 2);
    FaultySystem counting, waiting;
    std::string undisturbed;
    std::size_t saves = 0;
    EXPECT_EQ(disturbed(waiting, false).thrown, "");
    if (rank_ == 0) undisturbed = run().end();
    EXPECT_EQ(disturbed(counting).thrown, "");
    if (rank_ == 0) {
        EXPECT_EQ(run().end(), undisturbed) << "in the background or not";
        saves = counting.published().size();
        EXPECT_GE(saves, 3u);
        EXPECT_EQ(waiting.published().size(), saves);
    }
    struct Kind {
        Mode mode;
        int error;
    };
    const std::vector<Kind> kinds{{Mode::kFailFromHereOn, ENOSPC},
                                  {Mode::kFailOnce, EIO},
                                  {Mode::kFailOnce, EDQUOT},
                                  {Mode::kFailOnce, ESTALE},
                                  {Mode::kShortWrites, 0}};
    const int stride = stride_of_calls(11);
    int points = 0, reported = 0, thrown = 0;
    for (int faulty = 0; faulty < 2; ++faulty) {
        auto calls = static_cast<std::int64_t>(counting.calls());
        world_.broadcast(std::as_writable_bytes(std::span(&calls, 1)), faulty);
        ASSERT_GT(calls, 60);
        for (int at = 1, turn = 0; at <= calls; at += stride, ++turn)
            for (std::size_t k = 0; k < kinds.size(); ++k) {
                // where calls are left out, errors take turns
                if (stride > 1 && k != static_cast<std::size_t>(turn) % kinds.size()) continue;
                SCOPED_TRACE(text("rank ", faulty, ", call ", at, " of ", calls, ", error ", kinds[k].error));
                FaultySystem mine =
                    rank_ == faulty ? FaultySystem(kinds[k].mode, at, kinds[k].error) : FaultySystem();
                const End end = disturbed(mine);
                ++points;
                if (rank_ == 0) {
                    int told = 0;
                    for (const std::string& line : end.lines) {
                        if (line.find("was not saved: rank ") == std::string::npos) continue;
                        ++told;
                        EXPECT_NE(line.find(text("was not saved: rank ", faulty, ": ")), std::string::npos)
                            << line;
                        EXPECT_NE(line.find(std::strerror(kinds[k].error)), std::string::npos) << line;
                    }
                    if (kinds[k].mode == Mode::kShortWrites) {
                        EXPECT_EQ(told, 0);
                    }
                    if (kinds[k].mode == Mode::kFailOnce) {
                        EXPECT_LE(told, 1);
                    }
                    // a save that is reported as failed may be there: when it could not be made durable
                    EXPECT_TRUE(told > 0 || end.published == kDisturbedStep);
                    EXPECT_EQ(run().newest(), end.published);
                    // the last one has its name then, but the run does not trust it
                    EXPECT_TRUE(end.thrown.empty() || told > 0) << end.thrown;
                    EXPECT_TRUE(!end.thrown.empty() || end.published == kDisturbedStep);
                    EXPECT_EQ(run().end(), undisturbed);
                    reported += told > 0;
                    thrown += !end.thrown.empty();
                }
                world_.barrier();
            }
    }
    if (rank_ == 0) {
        EXPECT_GT(reported, points / 3);
        std::printf("%d points on two ranks; %d failures reported, of which %d were of the last save\n",
                    points, reported, thrown);
    }
}

}  // namespace
}  // namespace skein
