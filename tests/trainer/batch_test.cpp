#include "trainer/batch.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

/// Samples `begin`, begin + 1, … of a batch, whose longer sides have these lengths, sources and targets by
/// turns.
Batch pairs_of(std::int64_t begin, const std::vector<std::uint64_t>& lengths) {
    PairBatch part;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        part.source_offsets.push_back(part.source_offsets.back() + (i % 2 == 0 ? lengths[i] : 1));
        part.target_offsets.push_back(part.target_offsets.back() + (i % 2 == 0 ? 1 : lengths[i]));
    }
    Batch batch;
    batch.own = {begin, begin + std::ssize(lengths)};
    batch.part = part;
    return batch;
}

TEST(Batch, APairIsAsLongAsItsLongerSide) {
    const Batch batch = pairs_of(10, {3, 5, 4});
    EXPECT_EQ(batch.length(10), 3);
    EXPECT_EQ(batch.length(11), 5);
    EXPECT_EQ(batch.length(12), 4);
}

TEST(Batch, PassesAreCutBySamples) {
    const Batch batch = pairs_of(4, {1, 1, 1, 1, 1});
    EXPECT_EQ(next_pass(batch, 4, 9, 2, 0), (SampleRange{4, 6}));
    EXPECT_EQ(next_pass(batch, 8, 9, 2, 0), (SampleRange{8, 9}));
    EXPECT_EQ(next_pass(batch, 4, 9, 0, 0), (SampleRange{4, 9}));
}

TEST(Batch, PassesAreCutByTokensWithPadding) {
    const Batch batch = pairs_of(0, {2, 3, 3, 5, 9, 1});
    EXPECT_EQ(next_pass(batch, 0, 6, 0, 9), (SampleRange{0, 3})) << "3 samples of 3";
    EXPECT_EQ(next_pass(batch, 0, 6, 0, 8), (SampleRange{0, 2}));
    EXPECT_EQ(next_pass(batch, 3, 6, 0, 9), (SampleRange{3, 4})) << "with the next it would be 2 · 9";
    EXPECT_EQ(next_pass(batch, 4, 6, 0, 8), (SampleRange{4, 5})) << "one at least";
    EXPECT_EQ(next_pass(batch, 3, 4, 0, 100), (SampleRange{3, 4})) << "never beyond the end";
}

}  // namespace
}  // namespace skein
