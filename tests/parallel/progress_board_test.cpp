#include "parallel/progress_board.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "parallel/mpi_communicator.h"

namespace skein {
namespace {

class ProgressBoardTest : public testing::Test {
  protected:
    MpiSession session_;
    MpiCommunicator world_{session_};
};

TEST_F(ProgressBoardTest, EveryRankReadsWhatEachHasPublished) {
    ProgressBoard board(session_, world_);
    for (std::uint64_t round = 1; round <= 3; ++round) {
        board.publish(round * 100 + static_cast<std::uint64_t>(session_.rank()));
        world_.barrier();
        const std::vector<ProgressBoard::Entry> entries = board.read(60);
        ASSERT_EQ(entries.size(), static_cast<std::size_t>(session_.size()));
        for (int rank = 0; rank < session_.size(); ++rank) {
            EXPECT_EQ(entries[static_cast<std::size_t>(rank)].rank, rank);
            EXPECT_EQ(entries[static_cast<std::size_t>(rank)].number,
                      round * 100 + static_cast<std::uint64_t>(rank));
        }
        world_.barrier();
    }
}

TEST_F(ProgressBoardTest, AGroupsRanksAreNamedAsTheSessions) {
    const auto group = world_.split(session_.rank() % 2, -session_.rank());  // in reverse order
    ProgressBoard board(session_, *group);
    board.publish(static_cast<std::uint64_t>(session_.rank()) + 7);
    group->barrier();
    for (const auto& [rank, number] : board.read(60)) {
        EXPECT_EQ(rank % 2, session_.rank() % 2);
        EXPECT_EQ(number, static_cast<std::uint64_t>(rank) + 7);
    }
    group->barrier();
}

}  // namespace
}  // namespace skein
