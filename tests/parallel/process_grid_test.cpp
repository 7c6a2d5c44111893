#include "parallel/process_grid.h"

#include <gtest/gtest.h>

#include <string>

#include "model/base/error.h"
#include "parallel/agreement.h"

namespace skein {
namespace {

TEST(MpiSession, KnowsItsPlace) {
    const MpiSession session;
    EXPECT_GE(session.rank(), 0);
    EXPECT_LT(session.rank(), session.size());
    EXPECT_EQ(session.local_size(), session.size());  // the tests run on one node
    EXPECT_EQ(session.local_rank(), session.rank());
    EXPECT_FALSE(session.host().empty());
}

TEST(ProcessGrid, PutsTheRanksOfATensorGroupSideBySide) {
    const MpiSession session;
    for (int tensor = 1; tensor <= session.size(); tensor *= 2) {
        ProcessGrid grid(session, tensor);
        EXPECT_EQ(grid.world().rank(), session.rank());
        EXPECT_EQ(grid.world().size(), session.size());
        EXPECT_EQ(grid.tensor().size(), tensor);
        EXPECT_EQ(grid.data().size(), session.size() / tensor);
        EXPECT_EQ(grid.tensor().rank(), session.rank() % tensor);
        EXPECT_EQ(grid.data().rank(), session.rank() / tensor);
        // who is in the group: the sum of world ranks
        std::int64_t tensor_sum = 0, data_sum = 0;
        for (int i = 0; i < tensor; ++i) tensor_sum += session.rank() / tensor * tensor + i;
        for (int i = 0; i < session.size() / tensor; ++i) data_sum += session.rank() % tensor + i * tensor;
        EXPECT_EQ(grid.tensor().all_reduce_value<std::int64_t>(session.rank()), tensor_sum);
        EXPECT_EQ(grid.data().all_reduce_value<std::int64_t>(session.rank()), data_sum);
    }
}

TEST(ProcessGrid, RefusesATensorSizeThatDoesNotDivideTheRanks) {
    const MpiSession session;
    for (const int tensor : {0, -1, session.size() + 1}) {
        try {
            ProcessGrid grid(session, tensor);
            ADD_FAILURE() << tensor;
        } catch (const ConfigError& error) {
            EXPECT_NE(std::string(error.what()).find(text("--parallel.tensor is ", tensor)),
                      std::string::npos);
            if (session.size() == 4) {
                EXPECT_NE(std::string(error.what()).find("allowed: 1, 2, 4"), std::string::npos);
            }
        }
    }
}

TEST(Agreement, IsThatOfTheLowestRankThatFailed) {
    const MpiSession session;
    ProcessGrid grid(session, 1);
    EXPECT_FALSE(agree_on_failure(grid.world(), std::nullopt));
    for (int lowest = 0; lowest < session.size(); ++lowest) {
        std::optional<Failure> mine;
        if (session.rank() >= lowest)
            mine = Failure{65 + session.rank(), text("rank ", session.rank(), " has no data")};
        const std::optional<Failure> all = agree_on_failure(grid.world(), mine);
        ASSERT_TRUE(all);
        EXPECT_EQ(all->code, 65 + lowest);
        EXPECT_EQ(all->rank, lowest);
        EXPECT_EQ(all->message, text("rank ", lowest, " has no data"));
    }
}

}  // namespace
}  // namespace skein
