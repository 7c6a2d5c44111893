#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <latch>
#include <stop_token>

#include "checkpoint/checkpoint_store.h"
#include "model/base/error.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Staging> staging_for(int rank, const CheckpointState& state,
                                     const std::vector<SharePiece>& shares, int threads = 2) {
    return std::make_unique<Staging>(bytes_of_pieces(pieces_of_rank(rank, state.tensors, shares)), threads);
}

TEST(BackgroundSave, IsTheSameToTheByteAsOneThatIsWaitedFor) {
    for (const ExampleGrid grid :
         {ExampleGrid{}, ExampleGrid{3, 1}, ExampleGrid{1, 2}, ExampleGrid{2, 2, false, true}}) {
        const TemporaryFolder folder;
        on_ranks(grid.size(), [&](Communicator& world) {
            ExampleState example(5, grid, world.rank(), true);
            ASSERT_TRUE(CheckpointStore(folder / "waited", 2, nullptr).save(world, example.state));
            const CheckpointStore store(folder / "background", 2, nullptr);
            const auto shares = agree_on_shares(world, example.state.tensors);
            const auto staging = staging_for(world.rank(), example.state, shares);
            const auto saving = store.background();
            for (int time = 0; time < 2; ++time) {  // the staging serves again
                saving->start(world, example.state, shares, staging.get());
                const ExampleState kept(5, grid, world.rank(), true);
                example.clear();
                const auto outcome = saving->finish(world);
                ASSERT_TRUE(outcome && *outcome) << outcome->message;
                EXPECT_EQ(outcome->folder, folder / "background/step-00000005");
                EXPECT_FALSE(saving->is_under_way());
                EXPECT_FALSE(saving->finish(world)) << "there is nothing more to tell";
                if (time > 0) continue;
                newest_checkpoint(world, folder / "background", nullptr)->load(world, example.state.tensors);
                EXPECT_EQ(example.memory(), kept.memory());
                world.barrier();
                if (world.rank() != 0) continue;
                int files = 0;
                for (const auto& entry : fs::directory_iterator(folder / "waited/step-00000005")) {
                    const std::string name = entry.path().filename().string();
                    EXPECT_EQ(read_file(entry.path().string()),
                              read_file(folder / "background/step-00000005/" + name))
                        << name;
                    ++files;
                }
                EXPECT_EQ(files, grid.size() + 3) << "model.h5, tokenizer and manifest beside the ranks'";
            }
        });
    }
}

TEST(BackgroundSave, OfOneRankNeedsNobodyBetweenItsPhases) {
    const TemporaryFolder folder;
    SoloCommunicator alone;
    const ExampleState example(5);
    const auto shares = agree_on_shares(alone, example.state.tensors);
    const auto saving = CheckpointStore(folder / "c", 2, nullptr).background();
    saving->start(alone, example.state, shares, nullptr);
    while (saving->is_busy()) std::this_thread::yield();
    EXPECT_TRUE(newest_checkpoint(alone, folder / "c", nullptr));
    const auto outcome = saving->move_on(alone);
    EXPECT_TRUE(outcome && *outcome);
}

/// A rank whose file is not written before it is let.
class SlowDisk final : public FileSystem {
  public:
    int before_library_write(const char* path) override {
        if (std::string_view(path).ends_with("rank-00000.h5")) {
            if (!has_begun_.exchange(true)) begun.count_down();
            let_on.wait();
        }
        return 0;
    }
    std::latch begun{1}, let_on{1};

  private:
    std::atomic<bool> has_begun_{false};
};

class FullDisk final : public FileSystem {
  public:
    int before_library_write(const char*) override {
        errno = ENOSPC;
        return -1;
    }
};

TEST(BackgroundSave, AFailureIsKnownOnAllRanksWhileAnotherStillWrites) {
    const TemporaryFolder folder;
    SlowDisk slow;
    FullDisk full;
    std::latch told(2);
    on_ranks(2, [&](Communicator& world) {
        const ExampleState first(1, {2, 1}, world.rank()), second(2, {2, 1}, world.rank());
        ASSERT_TRUE(CheckpointStore(folder / "c", 1, nullptr).save(world, first.state));
        const auto shares = agree_on_shares(world, second.state.tensors);
        FileSystem& system =
            world.rank() == 0 ? static_cast<FileSystem&>(slow) : static_cast<FileSystem&>(full);
        const auto saving = CheckpointStore(folder / "c", 1, nullptr, system).background();
        saving->start(world, second.state, shares, nullptr);
        EXPECT_TRUE(saving->is_under_way());
        while (saving->is_busy()) std::this_thread::yield();
        world.barrier();
        EXPECT_FALSE(saving->move_on(world)) << "prepared";
        if (world.rank() == 0) slow.begun.wait();
        while (world.rank() == 1 && !saving->has_news_of_failure()) std::this_thread::yield();
        world.barrier();
        EXPECT_EQ(saving->is_busy(), world.rank() == 0);
        const auto outcome = saving->move_on(world);
        ASSERT_TRUE(outcome);
        EXPECT_EQ(outcome->failed_rank, 1);
        EXPECT_NE(outcome->message.find(std::strerror(ENOSPC)), std::string::npos) << outcome->message;
        EXPECT_TRUE(saving->is_under_way()) << "rank 0 still writes";
        EXPECT_FALSE(saving->has_news_of_failure()) << "it is no news any more";
        EXPECT_FALSE(saving->move_on(world)) << "asked too early, nothing happens";
        EXPECT_TRUE(fs::exists(folder / "c/step-00000002.tmp")) << "a writer's folder stays";
        told.arrive_and_wait();
        if (world.rank() == 0) slow.let_on.count_down();
        EXPECT_FALSE(saving->finish(world)) << "the outcome was told";
        EXPECT_FALSE(fs::exists(folder / "c/step-00000002.tmp"));
        EXPECT_EQ(newest_checkpoint(world, folder / "c", nullptr)->manifest().run.step, 1u);
        saving->start(world, second.state, shares, nullptr);
        const auto next = saving->finish(world);
        ASSERT_TRUE(next);
        EXPECT_EQ(next->failed_rank, 1) << "its disk is full still";
    });
}

/// Asks for an end while the first elements are written.
class ImpatientDisk final : public FileSystem {
  public:
    int before_library_write(const char*) override {
        if (++writes_ == 4) stop.request_stop();
        return 0;
    }
    std::stop_source stop;

  private:
    int writes_ = 0;
};

TEST(BackgroundSave, GivesUpAFileThatNobodyWaitsFor) {
    const TemporaryFolder folder;
    SoloCommunicator alone;
    const ExampleState example(5);
    const auto shares = agree_on_shares(alone, example.state.tensors);
    const auto pieces = pieces_of_rank(0, example.state.tensors, shares);
    ImpatientDisk disk;
    EXPECT_THROW(write_rank_file(disk, folder.path(), 0, pieces, disk.stop.get_token()), IoError);
    ImpatientDisk patient;
    EXPECT_EQ(write_rank_file(patient, folder.path(), 0, pieces).size(), pieces.size());
}

TEST(BackgroundSave, WithoutRoomForItsCopyFailsOnThatRankAlone) {
    const TemporaryFolder folder;
    on_ranks(2, [&](Communicator& world) {
        const ExampleState example(5, {2, 1}, world.rank());
        const auto shares = agree_on_shares(world, example.state.tensors);
        const auto staging = staging_for(world.rank(), example.state, shares);
        Staging none(0, 1);
        const auto saving = CheckpointStore(folder / "c", 2, nullptr).background();
        saving->start(world, example.state, shares, world.rank() == 1 ? &none : staging.get());
        const auto outcome = saving->finish(world);
        ASSERT_TRUE(outcome);
        EXPECT_EQ(outcome->failed_rank, 1);
        EXPECT_NE(outcome->message.find("found room for 0 bytes"), std::string::npos) << outcome->message;
        EXPECT_FALSE(fs::exists(folder / "c/step-00000005.tmp"));
    });
}

TEST(BackgroundSave, IsNewerThanOneWhoseManifestCannotBeReadJustNow) {
    const TemporaryFolder folder;
    SoloCommunicator alone;
    const auto saving = CheckpointStore(folder / "c", 9, nullptr).background();
    for (const std::uint64_t step : {20, 10}) {
        const ExampleState example(step);
        saving->start(alone, example.state, agree_on_shares(alone, example.state.tensors), nullptr);
        const auto outcome = saving->finish(alone);
        ASSERT_TRUE(outcome && *outcome);
        EXPECT_GT(outcome->seconds, 0.0);
        if (step == 20) fs::rename(folder / "c/step-00000020/manifest.json", folder / "away");
    }
    fs::rename(folder / "away", folder / "c/step-00000020/manifest.json");
    EXPECT_EQ(newest_checkpoint(alone, folder / "c", nullptr)->manifest().run.step, 10u);
}

}  // namespace
}  // namespace skein
