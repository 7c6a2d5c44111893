#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/inspect.h"
#include "model/base/error.h"
#include "parallel/mpi_communicator.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

class CheckpointsOverMpi : public testing::Test {
  protected:
    /// One folder for all ranks: rank 0's.
    std::string checkpoints() { return world_.broadcast_text(folder_.path(), 0) + "/checkpoints"; }
    ExampleGrid grid(bool by_columns) const {
        if (size_ % 2 != 0) return {size_, 1, by_columns};
        return {size_ / 2, 2, by_columns};
    }
    void expect_loads(const Checkpoint& checkpoint, ExampleGrid grid, std::uint64_t step) {
        const ExampleState wanted(step, grid, rank_);
        ExampleState found(step, grid, rank_);
        found.clear();
        checkpoint.load(world_, found.state.tensors);
        EXPECT_EQ(found.memory(), wanted.memory());
    }

    MpiSession session_;
    MpiCommunicator world_{session_};
    int rank_ = world_.rank(), size_ = world_.size();
    const TemporaryFolder folder_;
};

/// Fails what rank files are written with.
class FullDisk final : public FileSystem {
  public:
    int before_library_write(const char*) override {
        errno = ENOSPC;
        return -1;
    }
};

TEST_F(CheckpointsOverMpi, LoadUnderAnotherLayout) {
    const std::string folder = checkpoints();
    CheckpointStore store(folder, 2, nullptr);
    const ExampleState example(5, grid(false), rank_);
    const SaveOutcome outcome = store.save(world_, example.state);
    ASSERT_TRUE(outcome) << outcome.message;
    const auto checkpoint = store.newest_good(world_);
    ASSERT_TRUE(checkpoint);
    for (const bool by_columns : {false, true}) expect_loads(*checkpoint, grid(by_columns), 5);
    expect_loads(*checkpoint, {size_, 1}, 5);
    expect_loads(*checkpoint, {1, size_}, 5);
    expect_loads(*checkpoint, {size_, 1, false, true}, 5);
    if (rank_ == 0) {
        EXPECT_TRUE(inspect_checkpoint(outcome.folder).faults.empty());
    }
    world_.barrier();
}

TEST_F(CheckpointsOverMpi, OfAShardedOptimizerLoadOnAnyGrid) {
    const std::string folder = checkpoints();
    CheckpointStore store(folder, 2, nullptr);
    const ExampleGrid sharded{size_, 1, false, true};
    const SaveOutcome outcome = store.save(world_, ExampleState(5, sharded, rank_).state);
    ASSERT_TRUE(outcome) << outcome.message;
    const auto checkpoint = store.newest_good(world_);
    ASSERT_TRUE(checkpoint);
    for (const bool by_columns : {false, true}) expect_loads(*checkpoint, grid(by_columns), 5);
    expect_loads(*checkpoint, sharded, 5);
    world_.barrier();
}

TEST_F(CheckpointsOverMpi, SurviveAFullDiskOnOneRank) {
    const std::string folder = checkpoints();
    const int full = size_ - 1;
    FullDisk broken;
    FileSystem& system = rank_ == full ? static_cast<FileSystem&>(broken) : FileSystem::real();
    const ExampleState first(1, grid(false), rank_), second(2, grid(false), rank_);
    ASSERT_TRUE(CheckpointStore(folder, 1, nullptr).save(world_, first.state));
    const SaveOutcome outcome = CheckpointStore(folder, 1, nullptr, system).save(world_, second.state);
    EXPECT_EQ(outcome.failed_rank, full);
    EXPECT_NE(outcome.message.find(std::strerror(ENOSPC)), std::string::npos) << outcome.message;
    CheckpointStore store(folder, 1, nullptr);
    EXPECT_EQ(store.newest_good(world_)->manifest().run.step, 1u);
    ASSERT_TRUE(store.save(world_, second.state));
    expect_loads(*store.newest_good(world_), grid(true), 2);
    world_.barrier();
}

}  // namespace
}  // namespace skein
