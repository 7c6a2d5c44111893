#include "parallel/shard_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "model/kernels/elementwise.h"

namespace skein {
namespace {

constexpr std::int64_t kBlock = kernels::kNormBlock;
const std::vector<std::int64_t> kCounts{21 * kBlock + 5, 3, 2 * kBlock, 300, 0, 9 * kBlock - 16, 70'000, 11};

TEST(ShardPlan, GivesEveryElementToOneRank) {
    for (const int ranks : {1, 2, 3, 4}) {
        const GradientLayout layout(kCounts, 1000, {.ranks = ranks, .on_blocks = true});
        std::vector<std::vector<int>> owners;  // by parameter and block
        for (const std::int64_t count : kCounts)
            owners.emplace_back(static_cast<std::size_t>((count + kBlock - 1) / kBlock), 0);
        std::int64_t elements = 0;
        for (int rank = 0; rank < ranks; ++rank) {
            const ShardPlan plan(layout, kCounts, rank);
            std::int64_t others = 0;
            for (const ParameterRun& run : plan.own) {
                EXPECT_EQ(run.begin % kBlock, 0);
                EXPECT_TRUE(run.count % kBlock == 0 || run.begin + run.count == kCounts[run.parameter]);
                for (std::int64_t at = run.begin; at < run.begin + run.count; at += kBlock)
                    ++owners[run.parameter][static_cast<std::size_t>(at / kBlock)];
                elements += run.count;
                others += run.count;
            }
            for (const ParameterRun& run : plan.others) others += run.count;
            EXPECT_EQ(others, std::accumulate(kCounts.begin(), kCounts.end(), std::int64_t{0}));
        }
        EXPECT_EQ(elements, std::accumulate(kCounts.begin(), kCounts.end(), std::int64_t{0}));
        for (const std::vector<int>& of_parameter : owners)
            for (const int times : of_parameter) EXPECT_EQ(times, 1);
    }
}

TEST(ShardPlan, PlacesAreAPermutationThatBringsBlocksIntoTheOrderOfParameters) {
    const GradientLayout layout(kCounts, 1000, {.ranks = 3, .on_blocks = true});
    // what each rank has, in its order: the parameter and the block
    std::vector<std::pair<std::size_t, std::int64_t>> by_rank, wanted;
    for (int rank = 0; rank < 3; ++rank) {
        const ShardPlan plan(layout, kCounts, rank);
        EXPECT_EQ(plan.first_block[static_cast<std::size_t>(rank)], std::ssize(by_rank));
        for (const ParameterRun& run : plan.own)
            for (std::int64_t at = run.begin; at < run.begin + run.count; at += kBlock)
                by_rank.emplace_back(run.parameter, at / kBlock);
        EXPECT_EQ(plan.first_block[static_cast<std::size_t>(rank) + 1], std::ssize(by_rank));
    }
    for (std::size_t i = 0; i < kCounts.size(); ++i)
        for (std::int64_t block = 0; block * kBlock < kCounts[i]; ++block) wanted.emplace_back(i, block);
    const ShardPlan plan(layout, kCounts, 1);
    ASSERT_EQ(plan.places.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i)
        EXPECT_EQ(by_rank[static_cast<std::size_t>(plan.places[i])], wanted[i]);
}

TEST(ShardPlan, GroupsCoverAllBucketsAndRunsInOrder) {
    const GradientLayout layout(kCounts, 1000, {.ranks = 2, .on_blocks = true});
    const ShardPlan plan(layout, kCounts, 0, 5);
    EXPECT_GT(plan.groups.size(), 2u);
    ShardPlan::Group before;
    for (const ShardPlan::Group& group : plan.groups) {
        EXPECT_GT(group.buckets, before.buckets);
        EXPECT_GE(group.own, before.own);
        EXPECT_GE(group.others, before.others);
        before = group;
    }
    EXPECT_EQ(before.buckets, layout.buckets.size());
    EXPECT_EQ(before.own, plan.own.size());
    EXPECT_EQ(before.others, plan.others.size());
}

TEST(ShardPlan, APartThatIsShorterThanItsRoomEndsWhereItEnds) {
    // as on a rank that has the smaller part of a split parameter
    const GradientLayout layout(kCounts, 1000, {.ranks = 2, .on_blocks = true});
    std::vector<std::int64_t> shorter = kCounts;
    shorter[0] -= 2 * kBlock;
    shorter[1] = 1;
    std::int64_t elements = 0;
    for (int rank = 0; rank < 2; ++rank)
        for (const ParameterRun& run : ShardPlan(layout, shorter, rank).own) elements += run.count;
    EXPECT_EQ(elements, std::accumulate(shorter.begin(), shorter.end(), std::int64_t{0}));
}

}  // namespace
}  // namespace skein
