#include "parallel/gradient_layout.h"

#include <gtest/gtest.h>

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

TEST(GradientLayout, BucketsAndTheirSlicesCoverEverythingOnce) {
    const std::vector<std::int64_t> counts{1000, 0, 7, 64, 129, 33, 5000, 1, 16};
    for (const std::int64_t bucket_elements : {1, 64, 200, 100000}) {
        const GradientLayout layout(counts, bucket_elements);
        std::int64_t at = 0;
        for (const GradientLayout::Bucket& bucket : layout.buckets) {
            EXPECT_EQ(bucket.begin, at);
            EXPECT_LT(bucket.begin, bucket.end);
            at = bucket.end;
            for (const int ranks : {1, 2, 3, 8}) {
                EXPECT_EQ(GradientLayout::slice_begin(bucket, ranks, 0), bucket.begin);
                EXPECT_EQ(GradientLayout::slice_begin(bucket, ranks, ranks), bucket.end);
                for (int rank = 0; rank < ranks; ++rank) {
                    const std::int64_t begin = GradientLayout::slice_begin(bucket, ranks, rank);
                    EXPECT_EQ(begin % GradientLayout::kAlignment, 0);
                    EXPECT_LE(begin, GradientLayout::slice_begin(bucket, ranks, rank + 1));
                }
            }
        }
        EXPECT_EQ(at, layout.elements);
        EXPECT_EQ(layout.slices[1].count, 0);
        EXPECT_LT(layout.slices[1].last_bucket, layout.slices[1].first_bucket);
    }
}

}  // namespace
}  // namespace skein
