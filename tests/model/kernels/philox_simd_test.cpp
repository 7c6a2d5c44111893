#include "model/kernels/cpu/philox_simd.h"

#include <gtest/gtest.h>

#include <vector>

namespace skein::kernels {
namespace {

void expect_mask_of_keeps(const Dropout& dropout, std::uint32_t sample, std::uint32_t position,
                          std::uint32_t plane, std::uint32_t first, std::int64_t count) {
    constexpr float kUntouched = -7.0f;
    std::vector<float> mask(static_cast<std::size_t>(count) + 1, kUntouched);
    simd::keep_mask(dropout, sample, position, plane, first, count, mask.data());
    for (std::int64_t i = 0; i < count; ++i) {
        const bool kept = keeps(dropout, sample, position, first + static_cast<std::uint32_t>(i), plane);
        ASSERT_EQ(mask[static_cast<std::size_t>(i)], kept ? dropout.scale : 0.0f)
            << "channel " << first << " + " << i << " of " << count;
    }
    EXPECT_EQ(mask.back(), kUntouched);
}

TEST(PhiloxSimd, MaskIsThatOfKeepsForEveryStartAndCount) {
    const Dropout dropout = make_dropout(0.3, {0x12345678u, 0x9abcdef0u});
    for (std::uint32_t first : {0u, 1u, 7u, 8u, 13u, 64u, 1000u})
        for (std::int64_t count : {0, 1, 7, 8, 9, 63, 64, 65, 128, 200})
            expect_mask_of_keeps(dropout, 5, 17, 3, first, count);
}

TEST(PhiloxSimd, MaskIsThatOfKeepsForLargeIndicesAndEveryKindOfThreshold) {
    for (double probability : {0.0, 1.0 / 65536, 0.1, 0.5, 0.9, 65535.0 / 65536}) {
        const Dropout dropout = make_dropout(probability, {0xffffffffu, 0x80000001u});
        expect_mask_of_keeps(dropout, 0xffffffffu, 0xfffffffeu, 0x80000000u, 0xfffff000u, 300);
        expect_mask_of_keeps(dropout, 0, 0, 0, 0, 300);
    }
}

TEST(PhiloxSimd, ShareOfDroppedElementsIsTheProbability) {
    const Dropout dropout = make_dropout(0.1, {1, 2});
    constexpr std::int64_t kCount = 1 << 20;
    std::vector<float> mask(kCount);
    simd::keep_mask(dropout, 1, 2, 3, 0, kCount, mask.data());
    std::int64_t dropped = 0;
    for (float factor : mask) dropped += factor == 0.0f;
    // six standard deviations of a binomial count: sqrt(0.1 · 0.9 · 2^20) = 307
    EXPECT_NEAR(static_cast<double>(dropped), 0.1 * kCount, 6 * 307.0);
}

}  // namespace
}  // namespace skein::kernels
