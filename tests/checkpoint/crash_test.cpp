#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "checkpoint/checkpoint_store.h"
#include "model/base/error.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/faulty_system.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

using Mode = FaultySystem::Mode;

SaveOutcome save(const std::string& folder, std::uint64_t step, FileSystem& system, std::uint64_t best = 1) {
    SoloCommunicator alone;
    ExampleState example(step);
    example.state.run.best = BestMetric{1.0, best};
    return CheckpointStore(folder, 1, nullptr, system).save(alone, example.state);
}

bool has_temporary(const std::string& folder) {
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".tmp" || entry.path().extension() == ".replaced") return true;
    return false;
}

/// The folder always has a good newest checkpoint with the right bytes, one of the `allowed` in sequence; the
/// best one is still there; and the next save works and leaves nothing behind. Gives the sequence that was
/// found.
std::uint64_t expect_sound(const std::string& folder, const std::set<std::uint64_t>& allowed) {
    SoloCommunicator alone;
    const auto newest = newest_checkpoint(alone, folder, nullptr);
    if (!newest) {
        ADD_FAILURE() << "no good checkpoint";
        return 0;
    }
    const std::uint64_t sequence = newest->manifest().sequence;
    EXPECT_TRUE(allowed.contains(sequence)) << sequence;
    const ExampleState wanted(newest->manifest().run.step);
    ExampleState found(newest->manifest().run.step);
    found.clear();
    newest->load(alone, found.state.tensors);
    EXPECT_EQ(found.memory(), wanted.memory());
    EXPECT_EQ(find_checkpoint(alone, folder, nullptr).manifest().run.step, 1u) << "the best one";

    FaultySystem quick;
    const SaveOutcome next = save(folder, 9, quick);
    EXPECT_TRUE(next) << next.message;
    EXPECT_FALSE(has_temporary(folder));
    EXPECT_EQ(newest_checkpoint(alone, folder, nullptr)->manifest().run.step, 9u);
    EXPECT_EQ(find_checkpoint(alone, folder, nullptr).manifest().run.step, 1u);
    return sequence;
}

struct Scenario {
    std::uint64_t last, next;  ///< steps: the best is 1; `last` is saved before, `next` meets the fault
};
const std::vector<Scenario> kScenarios{{2, 3}, {2, 2}};  // a new step, and one that is saved again

/// A copy of a folder with checkpoints of step 1, the best, and of `last`; made once for each.
void begin(const std::string& folder, std::uint64_t last) {
    static const TemporaryFolder kept;
    const std::string made = kept / std::to_string(last);
    if (!fs::exists(made)) {
        FaultySystem quick;
        ASSERT_TRUE(save(made, 1, quick));
        ASSERT_TRUE(save(made, last, quick));
    }
    fs::copy(made, folder, fs::copy_options::recursive);
}

int calls_of(Scenario scenario) {
    const TemporaryFolder folder;
    begin(folder / "c", scenario.last);
    FaultySystem counting;
    EXPECT_TRUE(save(folder / "c", scenario.next, counting));
    return counting.calls();
}

TEST(Crash, ACallThatFailsLosesNothing) {
    for (const Scenario scenario : kScenarios) {
        const int calls = calls_of(scenario);
        ASSERT_GT(calls, 40);
        int failures = 0;
        for (const auto& [mode, error] :
             {std::pair{Mode::kFailOnce, EIO}, std::pair{Mode::kFailFromHereOn, ENOSPC}})
            for (int at = 1; at <= calls; at += mode == Mode::kFailOnce ? 1 : 3) {
                SCOPED_TRACE(
                    text("call ", at, " of ", calls, ", step ", scenario.next, " after ", scenario.last));
                const TemporaryFolder folder;
                begin(folder / "c", scenario.last);
                FaultySystem faulty(mode, at, error);
                const SaveOutcome outcome = save(folder / "c", scenario.next, faulty);
                if (!outcome) {
                    ++failures;
                    EXPECT_EQ(outcome.failed_rank, 0);
                    EXPECT_NE(outcome.message.find(std::strerror(error)), std::string::npos)
                        << outcome.message;
                    EXPECT_EQ(outcome.folder, "");
                }
                // A save may fail after its rename, when it cannot make that durable.
                expect_sound(folder / "c",
                             outcome ? std::set<std::uint64_t>{3} : std::set<std::uint64_t>{2, 3});
            }
        EXPECT_GT(failures, 40) << "only retiring may fail without the save failing";
    }
}

TEST(Crash, ShortWritesAreGoneOnWith) {
    const TemporaryFolder folder;
    begin(folder / "c", 2);
    FaultySystem faulty(Mode::kShortWrites, 1);
    const SaveOutcome outcome = save(folder / "c", 3, faulty);
    EXPECT_TRUE(outcome) << outcome.message;
    EXPECT_EQ(expect_sound(folder / "c", {3}), 3u);
}

/// Runs it in a process of its own; true when that was killed.
template <class Body>
bool dies(const Body& body) {
    const pid_t child = fork();
    if (child == 0) {
        body();
        ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST(Crash, AProcessThatIsKilledAtAnyCallLosesNothing) {
    for (const Scenario scenario : kScenarios) {
        const int calls = calls_of(scenario);
        std::map<std::uint64_t, int> found;
        for (int at = 1; at <= calls; ++at) {
            SCOPED_TRACE(
                text("call ", at, " of ", calls, ", step ", scenario.next, " after ", scenario.last));
            const TemporaryFolder folder;
            begin(folder / "c", scenario.last);
            ASSERT_TRUE(dies([&] {
                FaultySystem faulty(Mode::kKill, at);
                save(folder / "c", scenario.next, faulty);
            }));
            ++found[expect_sound(folder / "c", {2, 3})];
        }
        EXPECT_GT(found[2], 30) << "killed before the rename";
        EXPECT_GT(found[3], 2) << "killed after it";
    }
}

/// Saves in the background on one of two ranks, as a trainer does: between two steps, in which the ranks tell
/// each other how their parts stand, the save goes on by itself.
SaveOutcome save_on_a_rank(Communicator& world, const std::string& folder, std::uint64_t step,
                           FileSystem& system) {
    ExampleState example(step, {2, 1}, world.rank());
    example.state.run.best = BestMetric{1.0, 1};
    const std::vector<SharePiece> shares = agree_on_shares(world, example.state.tensors);
    Staging staging(bytes_of_pieces(pieces_of_rank(world.rank(), example.state.tensors, shares)), 1);
    const auto saving = CheckpointStore(folder, 1, nullptr, system).background();
    saving->start(world, example.state, shares, &staging);
    example.clear();  // the next step changes everything
    std::optional<SaveOutcome> outcome;
    while (saving->is_under_way()) {
        const bool is_busy = world.all_reduce_value(std::int64_t{saving->is_busy()}, Reduction::kMax) != 0,
                   has_failed =
                       world.all_reduce_value(std::int64_t{saving->has_news_of_failure()}, Reduction::kMax);
        if (is_busy && !has_failed) continue;
        if (auto known = saving->move_on(world)) outcome = std::move(known);
    }
    return outcome.value();
}

TEST(Crash, TwoRanksOfWhichOneIsKilledOrFailsAtAnyCallLoseNothing) {
    const auto both = [](const std::string& folder, int faulty, FaultySystem& system) {
        std::vector<SaveOutcome> outcomes(2);
        on_ranks(2, [&](Communicator& world) {
            FaultySystem quick;
            outcomes[static_cast<std::size_t>(world.rank())] =
                save_on_a_rank(world, folder, 3, world.rank() == faulty ? system : quick);
        });
        EXPECT_EQ(outcomes[0].message, outcomes[1].message);
        return outcomes[0];
    };
    constexpr int kErrors[] = {ENOSPC, EIO, EDQUOT, ESTALE};
    const char* all = std::getenv("SKEIN_TEST_ALL_CALLS");
    const bool all_errors = all && *all == '1';  // at every call, or else by turns
    int points = 0;
    for (const int rank : {0, 1}) {
        FaultySystem counting;
        {
            const TemporaryFolder folder;
            begin(folder / "c", 2);
            ASSERT_TRUE(both(folder / "c", rank, counting));
        }
        const int published = rank == 0 ? counting.published().front() : INT_MAX;
        for (int at = 1; at <= counting.calls(); ++at) {
            SCOPED_TRACE(text("rank ", rank, ", call ", at, " of ", counting.calls()));
            {
                const TemporaryFolder folder;
                begin(folder / "c", 2);
                ASSERT_TRUE(dies([&] {
                    FaultySystem faulty(Mode::kKill, at);
                    both(folder / "c", rank, faulty);
                }));
                expect_sound(folder / "c", {at <= published ? 2u : 3u});
                ++points;
            }
            for (std::size_t k = 0; k < std::size(kErrors); ++k) {
                if (!all_errors && k != static_cast<std::size_t>(at) % std::size(kErrors)) continue;
                const TemporaryFolder folder;
                begin(folder / "c", 2);
                FaultySystem faulty(k == 0 ? Mode::kFailFromHereOn : Mode::kFailOnce, at, kErrors[k]);
                const SaveOutcome outcome = both(folder / "c", rank, faulty);
                if (!outcome) {
                    EXPECT_EQ(outcome.failed_rank, rank);
                    EXPECT_NE(outcome.message.find(std::strerror(kErrors[k])), std::string::npos)
                        << outcome.message;
                }
                EXPECT_TRUE(outcome || rank == 1 || at <= published + 3) << "what is durable was saved";
                // a save may fail after its rename, when it cannot make that durable
                expect_sound(folder / "c", {outcome || at > published ? 3u : 2u});
                ++points;
            }
        }
    }
    std::printf("%d points of two ranks\n", points);
}

/// Fails the test where something is renamed, or removed, before what it needs is durable.
class OrderWatcher final : public FileSystem {
  public:
    int open(const char* path, int flags, mode_t mode) override {
        const int descriptor = FileSystem::open(path, flags, mode);
        paths_[descriptor] = path;
        if ((flags & O_CREAT) != 0) changed(path);
        return descriptor;
    }
    ssize_t write(int descriptor, const void* bytes, std::size_t count) override {
        unsynced_.insert(paths_[descriptor]);
        return FileSystem::write(descriptor, bytes, count);
    }
    int before_library_write(const char* path) override {
        changed(path);
        return 0;
    }
    int fsync(int descriptor) override {
        unsynced_.erase(paths_[descriptor]);
        return FileSystem::fsync(descriptor);
    }
    int rename(const char* from, const char* to) override {
        const bool publishes = !std::string(to).ends_with(".tmp") && std::string(from).ends_with(".tmp");
        if (publishes) {
            ++published_;
            for (const std::string& path : unsynced_)
                EXPECT_FALSE(path.starts_with(from))
                    << path << " is not durable when " << from << " is renamed";
            EXPECT_TRUE(fs::exists(std::string(from) + "/manifest.json"));
        } else if (published_ > 0) {
            EXPECT_TRUE(unsynced_.empty())
                << *unsynced_.begin() << " is not durable when " << from << " is retired";
        }
        unsynced_.insert(folder_of(to));
        return FileSystem::rename(from, to);
    }
    int published() const { return published_; }

  private:
    void changed(const std::string& path) {
        unsynced_.insert(path);
        unsynced_.insert(folder_of(path));
    }

    std::map<int, std::string> paths_;
    std::set<std::string> unsynced_;
    int published_ = 0;
};

TEST(Crash, NothingIsRenamedOrRetiredBeforeItIsDurable) {
    const TemporaryFolder folder;
    begin(folder / "c", 2);
    OrderWatcher watcher;
    EXPECT_TRUE(save(folder / "c", 3, watcher));
    EXPECT_EQ(watcher.published(), 1);
    EXPECT_EQ(list_checkpoints(folder / "c", nullptr).size(), 2u) << "one was retired";
}

TEST(Crash, AFaultOnOneRankIsReportedOnAllAndTheRunGoesOn) {
    constexpr int kRanks = 3, kFaulty = 1;
    for (int at = 1; at < 60; at += 3) {
        const TemporaryFolder folder;
        std::vector<SaveOutcome> outcomes(kRanks);
        int calls = 0;
        on_ranks(kRanks, [&](Communicator& world) {
            FaultySystem quick, faulty(Mode::kFailFromHereOn, at, ENOSPC);
            const bool is_faulty = world.rank() == kFaulty;
            const auto step = [&](std::uint64_t number, FileSystem& system) {
                const ExampleState example(number, {kRanks, 1}, world.rank());
                return CheckpointStore(folder / "c", 1, nullptr, system).save(world, example.state);
            };
            EXPECT_TRUE(step(1, quick));
            outcomes[static_cast<std::size_t>(world.rank())] = step(2, is_faulty ? faulty : quick);
            if (is_faulty) calls = faulty.calls();
            const auto newest = newest_checkpoint(world, folder / "c", nullptr);
            ASSERT_TRUE(newest);
            EXPECT_EQ(newest->manifest().run.step, outcomes[0] ? 2u : 1u);
            EXPECT_TRUE(step(3, quick));
            EXPECT_EQ(newest_checkpoint(world, folder / "c", nullptr)->manifest().run.step, 3u);
        });
        for (const SaveOutcome& outcome : outcomes) {
            EXPECT_EQ(outcome.failed_rank, calls < at ? -1 : kFaulty);
            EXPECT_EQ(outcome.message, outcomes[0].message);
        }
        if (calls < at) return;  // that rank makes no more calls than these
        EXPECT_NE(outcomes[0].message.find("rank-00001.h5"), std::string::npos) << outcomes[0].message;
        EXPECT_NE(outcomes[0].message.find(std::strerror(ENOSPC)), std::string::npos) << outcomes[0].message;
    }
    FAIL() << "the rank went on making calls";
}

/// A file system of a few kilobytes, where HDF5's own writes meet the end of the space.
class SmallDisk {
  public:
    explicit SmallDisk(int kilobytes) {
        mounted_ = ::mount("skein-test", folder_.path().c_str(), "tmpfs", 0,
                           text("size=", kilobytes, "k").c_str()) == 0;
    }
    ~SmallDisk() {
        if (mounted_) ::umount2(folder_.path().c_str(), MNT_DETACH);
    }
    bool mounted() const { return mounted_; }
    const std::string& path() const { return folder_.path(); }

  private:
    TemporaryFolder folder_;
    bool mounted_ = false;
};

TEST(Crash, AFullDiskLosesNothing) {
    if (!SmallDisk(64).mounted()) GTEST_SKIP() << "mounting a small tmpfs needs root and the right to mount";
    int failures = 0, successes = 0;
    for (int kilobytes = 40; kilobytes <= 160; kilobytes += 8) {
        const SmallDisk disk(kilobytes);
        FaultySystem quick;
        const std::string folder = disk.path() + "/c";
        if (!save(folder, 1, quick)) continue;
        SoloCommunicator alone;
        const SaveOutcome outcome = save(folder, 2, quick);
        failures += outcome ? 0 : 1;
        successes += outcome ? 1 : 0;
        const auto newest = newest_checkpoint(alone, folder, nullptr);
        ASSERT_TRUE(newest);
        EXPECT_EQ(newest->manifest().run.step, outcome ? 2u : 1u) << outcome.message;
        EXPECT_FALSE(has_temporary(folder));
    }
    EXPECT_GT(failures, 2);
    EXPECT_GT(successes, 0);
}

}  // namespace
}  // namespace skein
