#include "parallel/lanes.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "model/base/error.h"

namespace skein {
namespace {

std::string refusal(int count, int ranks) {
    try {
        Lanes(count, ranks);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "";
}

TEST(Lanes, CoverTheSamplesInOrder) {
    const Lanes lanes(4, 1);
    EXPECT_EQ(lanes.samples(0, 10), (SampleRange{0, 2}));
    EXPECT_EQ(lanes.samples(1, 10), (SampleRange{2, 5}));
    EXPECT_EQ(lanes.samples(2, 10), (SampleRange{5, 7}));
    EXPECT_EQ(lanes.samples(3, 10), (SampleRange{7, 10}));
    EXPECT_EQ(lanes.samples(0, 3), (SampleRange{0, 0}));
    EXPECT_EQ(lanes.samples(3, 3), (SampleRange{2, 3}));
}

TEST(Lanes, AreSharedOutToRanksInRanges) {
    const Lanes lanes(8, 3);
    EXPECT_EQ(lanes.of_rank(0), (LaneRange{0, 2}));
    EXPECT_EQ(lanes.of_rank(1), (LaneRange{2, 5}));
    EXPECT_EQ(lanes.of_rank(2), (LaneRange{5, 8}));
}

TEST(Lanes, OfARankAreSummedAsMaximalAlignedSubtrees) {
    EXPECT_EQ(Lanes::subtrees({0, 8}), (std::vector<Subtree>{{0, 3}}));
    EXPECT_EQ(Lanes::subtrees({2, 5}), (std::vector<Subtree>{{2, 1}, {4, 0}}));
    EXPECT_EQ(Lanes::subtrees({5, 8}), (std::vector<Subtree>{{5, 0}, {6, 1}}));
    EXPECT_EQ(Lanes::subtrees({1, 7}), (std::vector<Subtree>{{1, 0}, {2, 1}, {4, 1}, {6, 0}}));
    EXPECT_TRUE(Lanes::subtrees({3, 3}).empty());
}

// Writes the sum that is made as an expression: the tree must be the same however the lanes are shared out.
std::string expression(const Lanes& lanes) {
    const auto whole = [](auto& self, int begin, int level) -> std::string {
        if (level == 0) return text(begin);
        return text("(", self(self, begin, level - 1), "+", self(self, begin + (1 << (level - 1)), level - 1),
                    ")");
    };
    std::vector<std::string> operands;
    for (const Subtree& subtree : lanes.all_subtrees())
        operands.push_back(whole(whole, subtree.begin, subtree.level));
    for (const Merge& merge : lanes.merges()) {
        std::string& left = operands[static_cast<std::size_t>(merge.left)];
        left = text("(", left, "+", operands[static_cast<std::size_t>(merge.right)], ")");
    }
    return operands[0];
}

TEST(Lanes, MakeTheSameTreeOnAnyNumberOfRanks) {
    EXPECT_EQ(expression(Lanes(4, 1)), "((0+1)+(2+3))");
    for (const int count : {1, 2, 4, 8, 16, 32})
        for (int ranks = 1; ranks <= count; ++ranks)
            EXPECT_EQ(expression(Lanes(count, ranks)), expression(Lanes(count, 1))) << count << " " << ranks;
}

TEST(Lanes, FewerThanRanksAreRefusedWithTheValueToGive) {
    EXPECT_EQ(refusal(2, 3),
              "--parallel.lanes is 2, fewer than the 3 data-parallel ranks; give --parallel.lanes 4");
    EXPECT_NE(refusal(8, 9).find("give --parallel.lanes 16"), std::string::npos);
    EXPECT_EQ(refusal(8, 8), "");
}

TEST(Lanes, AreAPowerOfTwo) {
    for (const int count : {-4, 0, 3, 6, 12})
        EXPECT_NE(refusal(count, 1).find(text("--parallel.lanes is ", count)), std::string::npos);
}

}  // namespace
}  // namespace skein
