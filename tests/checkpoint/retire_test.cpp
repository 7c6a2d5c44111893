#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "model/base/error.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

class Retire : public testing::Test {
  protected:
    void save(std::uint64_t step, std::optional<std::uint64_t> best = std::nullopt, int keep = 2) {
        ExampleState example(step);
        if (best) example.state.run.best = BestMetric{1.0, *best};
        const SaveOutcome outcome = CheckpointStore(checkpoints_, keep, nullptr).save(alone_, example.state);
        ASSERT_TRUE(outcome) << outcome.message;
    }
    std::set<std::string> names() const {
        std::set<std::string> out;
        for (const auto& entry : fs::directory_iterator(checkpoints_))
            out.insert(entry.path().filename().string());
        return out;
    }
    std::uint64_t found() { return find_checkpoint(alone_, folder_.path(), nullptr).manifest().run.step; }
    std::uint64_t newest() { return newest_checkpoint(alone_, checkpoints_, nullptr)->manifest().run.step; }

    const TemporaryFolder folder_;
    const std::string checkpoints_ = folder_ / "checkpoints";
    SoloCommunicator alone_;
};

using Names = std::set<std::string>;

TEST_F(Retire, KeepsTheNewest) {
    for (const std::uint64_t step : {1, 2, 3, 4}) save(step);
    EXPECT_EQ(names(), (Names{"step-00000003", "step-00000004"}));
    save(5, std::nullopt, 1);
    EXPECT_EQ(names(), (Names{"step-00000005"}));
    EXPECT_THROW(CheckpointStore(checkpoints_, 0, nullptr), ConfigError);
}

TEST_F(Retire, KeepsTheBestBesideTheNewest) {
    save(1, 1);
    for (const std::uint64_t step : {2, 3, 4}) save(step, 1);
    EXPECT_EQ(names(), (Names{"step-00000001", "step-00000003", "step-00000004"}));
    EXPECT_EQ(found(), 1u);
    EXPECT_EQ(newest(), 4u);
    save(5, 5);
    EXPECT_EQ(names(), (Names{"step-00000003", "step-00000004", "step-00000005"}));
    EXPECT_EQ(found(), 5u);
    save(6, 5);
    save(7, 5);
    EXPECT_EQ(names(), (Names{"step-00000005", "step-00000006", "step-00000007"}));
    EXPECT_EQ(found(), 5u);
}

TEST_F(Retire, FindsTheNewestWhenTheBestIsDamaged) {
    save(1, 1);
    save(2, 1);
    fs::resize_file(checkpoints_ + "/step-00000001/rank-00000.h5", 100);
    EXPECT_EQ(found(), 2u);
}

TEST_F(Retire, TakesTheOneThatWasSavedLastForTheNewest) {
    save(10);
    save(20);
    save(15);  // the run went back to step 10, and on from there
    EXPECT_EQ(newest(), 15u);
    EXPECT_EQ(names(), (Names{"step-00000015", "step-00000020"}));
    save(17);
    EXPECT_EQ(names(), (Names{"step-00000015", "step-00000017"}));
}

TEST_F(Retire, ReplacesACheckpointOfTheSameStep) {
    save(1);
    save(1);
    EXPECT_EQ(names(), (Names{"step-00000001"}));
    EXPECT_EQ(newest_checkpoint(alone_, checkpoints_, nullptr)->manifest().sequence, 2u);
}

TEST_F(Retire, LeavesOtherPeoplesFoldersAlone) {
    fs::create_directories(checkpoints_ + "/step-00000001.bad");
    fs::create_directories(checkpoints_ + "/notes.tmp");
    fs::create_directories(checkpoints_ + "/step-00000009.tmp/inside");
    for (const std::uint64_t step : {1, 2, 3}) save(step, std::nullopt, 1);
    EXPECT_EQ(names(), (Names{"notes.tmp", "step-00000001.bad", "step-00000003"}));
}

TEST_F(Retire, TakesTheNewestWhereThatKnowsOfNoBest) {
    save(1, 1);
    save(2);  // what was best before was measured otherwise
    EXPECT_EQ(found(), 2u);
}

/// Some files cannot be removed: somebody holds them open on NFS, or they are another user's.
class Clinging final : public FileSystem {
  public:
    int unlink(const char* path) override {
        if (std::string(path).find("clinging") == std::string::npos) return FileSystem::unlink(path);
        errno = EBUSY;
        return -1;
    }
};

TEST_F(Retire, WhatCannotBeRemovedKeepsNothingFromBeingSaved) {
    save(1);
    for (const char* left : {"/step-00000001.tmp", "/step-00000002.tmp"}) {
        fs::create_directories(checkpoints_ + left);
        std::ofstream(checkpoints_ + left + "/clinging") << "x";
    }
    Clinging system;
    std::vector<std::string> said;
    const Warn warn = [&](const std::string& line) { said.push_back(line); };
    for (const std::uint64_t step : {2, 3}) {
        const ExampleState example(step);
        const SaveOutcome outcome =
            CheckpointStore(checkpoints_, 1, warn, system).save(alone_, example.state);
        EXPECT_TRUE(outcome) << outcome.message;
        EXPECT_EQ(newest(), step);
        ASSERT_FALSE(said.empty());
        EXPECT_NE(said[0].find("cannot clean up"), std::string::npos) << said[0];
        EXPECT_NE(said[0].find("clinging"), std::string::npos) << said[0];
    }
    EXPECT_EQ(names(), (Names{"step-00000001.tmp", "step-00000002.left.tmp", "step-00000003"}));
}

TEST_F(Retire, NothingChangesOnceTheRunIsAnothers) {
    save(1);
    save(2);
    for (const int asked : {0, 1, 2, 3}) {  // it is, so many times
        SCOPED_TRACE(asked);
        const ExampleState example(3);
        int left = asked;
        const SaveOutcome outcome = CheckpointStore(checkpoints_, 1, nullptr, FileSystem::real(), [&] {
                                        return left-- > 0;
                                    }).save(alone_, example.state);
        EXPECT_EQ(bool(outcome), asked == 3) << outcome.message;
        EXPECT_TRUE(names().contains("step-00000001") && names().contains("step-00000002"));
        EXPECT_EQ(newest(), asked == 3 ? 3u : 2u);
    }
}

}  // namespace
}  // namespace skein
