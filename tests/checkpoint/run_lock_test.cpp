#include "checkpoint/run_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "model/base/error.h"
#include "model/base/files.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

/// A clock that only waiting moves.
struct FakeClock {
    std::chrono::steady_clock::time_point time{};
    std::function<void()> at_each_wait;
    int waits = 0;

    LockOptions options() {
        LockOptions out;
        out.heartbeat = milliseconds(0);
        out.now = [this] { return time; };
        out.wait = [this](milliseconds duration) {
            time += duration;
            ++waits;
            if (at_each_wait) at_each_wait();
        };
        return out;
    }
};

class Lock : public testing::Test {
  protected:
    RunLock acquire(const LockOwner& owner) {
        return RunLock::acquire(folder_.path(), owner, clock_.options());
    }
    /// What acquire says when it refuses; empty when it does not.
    std::string refusal(const LockOwner& owner) {
        try {
            acquire(owner);
        } catch (const ConfigError& error) {
            return error.what();
        }
        return "";
    }
    /// Leaves the lock of an owner who died without removing it, its counter at 41.
    void leave(const LockOwner& owner) {
        std::ofstream(folder_ / "lock")
            << "skein run lock 1\nhost " << owner.host << "\nboot " << owner.boot_id << "\npid " << owner.pid
            << "\nstarted " << owner.started << "\njob " << owner.job << "\nrestarts " << owner.restarts
            << "\ncounter 00000000000000000041\n";
    }
    bool exists() const { return std::filesystem::exists(folder_ / "lock"); }
    std::size_t files() const {
        return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder_.path()),
                                                      std::filesystem::directory_iterator()));
    }

    const TemporaryFolder folder_;
    FakeClock clock_;
    const LockOwner me_ = LockOwner::this_process();
};

LockOwner elsewhere() {
    LockOwner out;
    out.host = "another.host";
    out.boot_id = "b007";
    out.pid = 1;
    out.started = 5;
    return out;
}

TEST_F(Lock, IsThereWhileHeldAndGoneAfterwards) {
    {
        RunLock lock = acquire(me_);
        EXPECT_TRUE(exists());
        const RunLock moved = std::move(lock);
        EXPECT_TRUE(exists());
        EXPECT_TRUE(moved.held());
    }
    EXPECT_FALSE(exists());
    EXPECT_EQ(files(), 0u);
}

TEST_F(Lock, RefusesASecondWriterAtOnceAndNamesTheFirst) {
    const RunLock lock = acquire(me_);
    const std::string said = refusal(me_);
    EXPECT_NE(said.find(text("process ", ::getpid(), " on ", me_.host)), std::string::npos) << said;
    EXPECT_EQ(clock_.waits, 0);
    EXPECT_TRUE(exists());
}

TEST_F(Lock, OfAKilledProcessOfThisHostIsDeadAtOnce) {
    const pid_t child = fork();
    if (child == 0) {
        std::optional<RunLock> lock(acquire(LockOwner::this_process()));
        _exit(lock->held() ? 0 : 1);  // no destructor runs
    }
    int status = 1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    EXPECT_TRUE(exists());
    const RunLock mine = acquire(me_);
    EXPECT_EQ(clock_.waits, 0);
    EXPECT_TRUE(mine.held());
}

TEST_F(Lock, OfAProcessWhosePidCameAgainIsDeadAtOnce) {
    LockOwner other = me_;
    other.started -= 1;
    leave(other);
    EXPECT_EQ(refusal(me_), "");
    EXPECT_EQ(clock_.waits, 0);
}

TEST_F(Lock, OfTheSameJobIsDeadForAHigherRestartCountOnly) {
    LockOwner before = elsewhere(), again = me_;
    before.job = again.job = "4711";
    before.restarts = 1;
    again.restarts = 2;
    leave(before);
    EXPECT_EQ(refusal(again), "");
    EXPECT_EQ(clock_.waits, 0);
    leave(before);
    clock_.at_each_wait = [&] {
        LockOwner alive = before;
        alive.restarts = 9;  // as good as a counter that moved
        leave(alive);
    };
    again.restarts = 1;
    EXPECT_NE(refusal(again).find("SLURM job 4711"), std::string::npos);
    EXPECT_EQ(clock_.waits, 1);
}

TEST_F(Lock, OfAnotherHostIsDeadAfterItsCounterStoodStillForThreeMinutes) {
    leave(elsewhere());
    const RunLock lock = acquire(me_);
    EXPECT_EQ(clock_.time.time_since_epoch(), std::chrono::minutes(3));
    EXPECT_TRUE(lock.held());
    EXPECT_EQ(files(), 1u);
}

TEST_F(Lock, OfAnotherHostWhoseCounterMovesIsAlive) {
    RunLock theirs = acquire(elsewhere());
    clock_.at_each_wait = [&] {
        if (clock_.waits == 30) {
            EXPECT_TRUE(theirs.advance());
        }
    };
    EXPECT_NE(refusal(me_).find("process 1 on another.host"), std::string::npos);
    EXPECT_EQ(clock_.waits, 30);
    EXPECT_TRUE(theirs.advance());
}

TEST_F(Lock, ThatIsReleasedWhileWatchedIsTaken) {
    std::optional<RunLock> theirs(acquire(elsewhere()));
    clock_.at_each_wait = [&] { theirs.reset(); };
    const RunLock mine = acquire(me_);
    EXPECT_EQ(clock_.waits, 1);
    EXPECT_TRUE(mine.held());
}

TEST_F(Lock, ThatWasTakenOverTellsItsFormerOwner) {
    RunLock theirs = acquire(elsewhere());
    {
        RunLock mine = acquire(me_);  // after three minutes without a beat
        EXPECT_FALSE(theirs.advance());
        EXPECT_FALSE(theirs.held());
        EXPECT_TRUE(mine.advance());
        { const RunLock gone = std::move(theirs); }
        EXPECT_TRUE(exists()) << "its former owner must not remove it";
    }
    EXPECT_FALSE(exists());
}

TEST_F(Lock, WithoutSenseIsWatchedToo) {
    std::ofstream(folder_ / "lock") << "";
    const RunLock lock = acquire(me_);
    EXPECT_EQ(clock_.time.time_since_epoch(), std::chrono::minutes(3));
}

TEST_F(Lock, IsTakenByOneOfManyClaimants) {
    leave(elsewhere());
    constexpr int kClaimants = 8;
    LockOptions options;
    options.patience = milliseconds(20);
    options.heartbeat = milliseconds(0);
    int taken = 0;
    std::vector<pid_t> children;
    int ready[2], go[2];
    ASSERT_EQ(pipe(ready), 0);
    ASSERT_EQ(pipe(go), 0);
    for (int i = 0; i < kClaimants; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            char byte = 0;
            close(go[1]);
            int result = 1;
            try {
                const RunLock lock = RunLock::acquire(folder_.path(), LockOwner::this_process(), options);
                result = 0;
                if (write(ready[1], "y", 1) != 1 || read(go[0], &byte, 1) != 0) result = 2;
                _exit(lock.held() ? result : 3);
            } catch (const ConfigError&) {
                result = write(ready[1], "n", 1) == 1 ? 1 : 2;
            }
            _exit(result);
        }
        children.push_back(child);
    }
    for (int i = 0; i < kClaimants; ++i) {  // winners hold on until every claimant has its answer
        char byte = 0;
        ASSERT_EQ(read(ready[0], &byte, 1), 1);
    }
    close(go[1]);
    for (const pid_t child : children) {
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_LE(WEXITSTATUS(status), 1);
        taken += WEXITSTATUS(status) == 0 ? 1 : 0;
    }
    close(ready[0]), close(ready[1]), close(go[0]);
    EXPECT_EQ(taken, 1);
}

TEST_F(Lock, BeatsByItself) {
    LockOptions options;
    options.heartbeat = milliseconds(1);
    const RunLock lock = RunLock::acquire(folder_.path(), me_, options);
    const std::string before = read_file(folder_ / "lock");
    while (read_file(folder_ / "lock") == before) {  // the test's time limit ends it otherwise
    }
    EXPECT_TRUE(lock.held());
}

TEST_F(Lock, NeedsItsFolder) {
    EXPECT_THROW(RunLock::acquire(folder_ / "nothing", me_, clock_.options()), IoError);
}

}  // namespace
}  // namespace skein
