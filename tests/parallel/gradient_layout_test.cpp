#include "parallel/gradient_layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/kernels/elementwise.h"

namespace skein {
namespace {

TEST(GradientLayout, PutsTheLastCreatedFirstAndAlignsEach) {
    const std::vector<std::int64_t> counts{40, 3, 16};
    const GradientLayout layout(counts, 1000);
    EXPECT_EQ(layout.order, (std::vector<std::size_t>{2, 1, 0}));
    EXPECT_EQ(layout.slices[2].begin, 0);
    EXPECT_EQ(layout.slices[1].begin, 16);
    EXPECT_EQ(layout.slices[0].begin, 32);
    EXPECT_EQ(layout.elements, 80);
    ASSERT_EQ(layout.buckets.size(), 1u);
    EXPECT_EQ(layout.buckets[0].parameters, 3);
}

TEST(GradientLayout, CutsBucketsBetweenParametersAndLongParametersIntoBucketsOfTheirOwn) {
    const std::vector<std::int64_t> counts{20, 16, 100, 16, 16};
    const GradientLayout layout(counts, 32);
    // 16 + 16 | 100 in four | 16 | 20 (32 with its gap)
    ASSERT_EQ(layout.buckets.size(), 7u);
    EXPECT_EQ(layout.buckets[0].parameters, 2);
    EXPECT_EQ(layout.slices[2].first_bucket, 1);
    EXPECT_EQ(layout.slices[2].last_bucket, 4);
    EXPECT_EQ(layout.slices[1].first_bucket, 5);
    EXPECT_EQ(layout.slices[0].first_bucket, 6);
}

const std::vector<std::int64_t> kCounts{1000, 0, 7, 64, 129, 33, 5000, 1, 16};

TEST(GradientLayout, BucketsAndTheirSlicesCoverEverythingOnce) {
    for (const std::int64_t bucket_elements : {1, 64, 200, 100000})
        for (const int ranks : {1, 2, 3, 8}) {
            const GradientLayout layout(kCounts, bucket_elements, {.ranks = ranks});
            std::int64_t at = 0;
            for (const GradientLayout::Bucket& bucket : layout.buckets) {
                EXPECT_EQ(bucket.begin, at);
                EXPECT_LT(bucket.begin, bucket.end);
                at = bucket.end;
                ASSERT_EQ(std::ssize(bucket.cuts), ranks + 1);
                EXPECT_EQ(bucket.cuts.front(), bucket.begin);
                EXPECT_EQ(bucket.cuts.back(), bucket.end);
                EXPECT_TRUE(std::ranges::is_sorted(bucket.cuts));
                for (const std::int64_t cut : bucket.cuts) EXPECT_EQ(cut % GradientLayout::kAlignment, 0);
            }
            EXPECT_EQ(at, layout.elements);
            EXPECT_EQ(layout.slices[1].count, 0);
            EXPECT_LT(layout.slices[1].last_bucket, layout.slices[1].first_bucket);
        }
}

constexpr std::int64_t kBlock = kernels::kNormBlock;

TEST(GradientLayout, CutsOnBlocksOfEachParameterWhereAskedTo) {
    const std::vector<std::int64_t> counts{40 * kBlock + 5, 3,      2 * kBlock, 300,
                                           9 * kBlock - 16, 70'000, 0,          11};
    for (const int ranks : {1, 2, 3, 4, 7}) {
        const GradientLayout layout(counts, 1000, {.ranks = ranks, .on_blocks = true});
        std::int64_t at = 0, most = 0;
        std::vector<std::int64_t> of_rank(static_cast<std::size_t>(ranks));
        for (const GradientLayout::Bucket& bucket : layout.buckets) {
            EXPECT_EQ(bucket.begin, at);
            at = bucket.end;
            most = std::max(most, bucket.end - bucket.begin);
            EXPECT_TRUE(std::ranges::is_sorted(bucket.cuts));
            EXPECT_EQ(bucket.cuts.front(), bucket.begin);
            EXPECT_EQ(bucket.cuts.back(), bucket.end);
            for (const std::int64_t cut : bucket.cuts) {
                const auto slice = std::ranges::find_if(layout.slices, [&](const auto& one) {
                    return one.count > 0 && cut >= one.begin && cut < one.begin + one.count;
                });
                if (slice == layout.slices.end()) {
                    EXPECT_EQ(cut, layout.elements);
                } else {
                    EXPECT_EQ((cut - slice->begin) % kBlock, 0) << cut;
                }
            }
            for (std::size_t rank = 0; rank < of_rank.size(); ++rank)
                of_rank[rank] += bucket.cuts[rank + 1] - bucket.cuts[rank];
        }
        EXPECT_EQ(at, layout.elements);
        EXPECT_LE(most, 4 * ranks * kBlock);
        for (const std::int64_t elements : of_rank)  // half a block at either end
            EXPECT_NEAR(static_cast<double>(elements), static_cast<double>(layout.elements) / ranks,
                        static_cast<double>(kBlock))
                << ranks << " ranks";
    }
}

}  // namespace
}  // namespace skein
