#include "model/kernels/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::count;
using test::random_floats;

constexpr PhiloxKey kKey{21, 34};

TEST(CopyOrAdd, CopiesOrAddsEveryElementForAnyNumberOfThreads) {
    for (const int threads : {1, 2, 3})
        for (const std::int64_t n : {1, 7, 16384, 40001}) {
            CpuStream stream{threads, nullptr};
            const std::vector<float> source = random_floats(n, 1), old = random_floats(n, 2);
            for (const bool accumulate : {false, true}) {
                std::vector<float> target = old;
                copy_or_add(stream, source.data(), target.data(), n, accumulate);
                for (std::int64_t i = 0; i < n; ++i)
                    ASSERT_EQ(at(target, i), accumulate ? at(old, i) + at(source, i) : at(source, i));
            }
        }
}

TEST(ApplyDropout, DropsAndScalesExactlyWhatKeepsSays) {
    const Dropout dropout = make_dropout(0.3, kKey);
    const RowPlace place{3, 11, 5};
    constexpr std::int64_t kRows = 21;
    for (const std::int64_t width : {1, 7, 8, 65, 130}) {
        const std::vector<float> x = random_floats(kRows * width, 1), old = random_floats(kRows * width, 2);
        for (const bool accumulate : {false, true})
            for (const int threads : {1, 3}) {
                CpuStream stream{threads, nullptr};
                std::vector<float> y = old;
                apply_dropout(stream, dropout, place, kRows, width, x.data(), y.data(), accumulate);
                for (std::int64_t r = 0; r < kRows; ++r)
                    for (std::int64_t c = 0; c < width; ++c) {
                        const bool kept =
                            keeps(dropout, static_cast<std::uint32_t>(11 + r / 3),
                                  static_cast<std::uint32_t>(5 + r % 3), static_cast<std::uint32_t>(c));
                        const float dropped = kept ? at(x, r * width + c) * dropout.scale : 0.0f;
                        ASSERT_EQ(at(y, r * width + c),
                                  accumulate ? at(old, r * width + c) + dropped : dropped)
                            << "row " << r << " channel " << c;
                    }
            }
        std::vector<float> in_place = x, apart(x.size());
        CpuStream stream{1, nullptr};
        apply_dropout(stream, dropout, place, kRows, width, x.data(), apart.data());
        apply_dropout(stream, dropout, place, kRows, width, in_place.data(), in_place.data());
        EXPECT_EQ(in_place, apart);
    }
}

TEST(Dropout, KeepsItsShareOfElementsAndTheirMean) {
    for (const double probability :
         {0.1, 0.5, 0.99999999}) {  // the last rounds to one in 65,536, not to none
        const Dropout dropout = make_dropout(probability, kKey);
        EXPECT_TRUE(std::isfinite(dropout.scale));
        std::int64_t kept = 0;
        constexpr std::uint32_t kElements = 100'000;
        for (std::uint32_t c = 0; c < kElements; ++c) kept += keeps(dropout, 3, 4, c);
        // five standard deviations of a binomial
        const double share = static_cast<double>(kept) / kElements;
        EXPECT_NEAR(share, 1.0 - probability, 5.0 * std::sqrt(0.25 / kElements));
    }
}

TEST(ColumnSums, AreTheSumsForAnyWidthAndTheSameBitsForAnyNumberOfThreads) {
    for (const std::int64_t width : {1, 5, 64, 131})
        for (const std::int64_t rows : {1, 256, 700}) {
            const std::vector<float> x = random_floats(rows * width, 1), old = random_floats(width, 2);
            for (const bool accumulate : {false, true}) {
                std::vector<float> first;
                for (const int threads : {1, 2, 3}) {
                    CpuStream stream{threads, nullptr};
                    std::vector<float> sums = old;
                    column_sums(stream, rows, width, x.data(), sums.data(), accumulate);
                    if (threads == 1) first = sums;
                    ASSERT_EQ(sums, first);
                }
                for (std::int64_t c = 0; c < width; ++c) {
                    double wanted = accumulate ? static_cast<double>(at(old, c)) : 0.0, size = 1.0;
                    for (std::int64_t r = 0; r < rows; ++r) {
                        wanted += static_cast<double>(at(x, r * width + c));
                        size += std::abs(static_cast<double>(at(x, r * width + c)));
                    }
                    // rounding errors of up to 256 additions add up like a random walk
                    ASSERT_NEAR(static_cast<double>(at(first, c)), wanted, 1e-6 * size);
                }
            }
        }
}

TEST(BlockSquareSums, AreFp64SumsOfEachBlockForAnyNumberOfThreads) {
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{13}, kNormBlock, 2 * kNormBlock + 77}) {
        const std::vector<float> x = random_floats(n, 9);
        const std::int64_t blocks = (n + kNormBlock - 1) / kNormBlock;
        std::vector<double> first;
        for (const int threads : {1, 2, 3}) {
            CpuStream stream{threads, nullptr};
            std::vector<double> sums(static_cast<std::size_t>(blocks) + 1, -1.0);
            block_square_sums(stream, x.data(), n, sums.data());
            EXPECT_EQ(sums.back(), -1.0) << "written past the last block";
            sums.pop_back();
            if (threads == 1) first = sums;
            EXPECT_EQ(sums, first);
        }
        for (std::int64_t block = 0; block < blocks; ++block) {
            long double wanted = 0.0L;
            for (std::int64_t i = block * kNormBlock; i < std::min(n, (block + 1) * kNormBlock); ++i)
                wanted += static_cast<long double>(at(x, i)) * static_cast<long double>(at(x, i));
            EXPECT_NEAR(at(first, block), static_cast<double>(wanted), 1e-13 * static_cast<double>(wanted));
        }
    }
}

TEST(BlockSquareSums, OfASliceThatStartsOnABlockAreTheWholesBlocks) {
    const std::vector<float> x = random_floats(3 * kNormBlock + 5, 9);
    CpuStream stream{2, nullptr};
    std::vector<double> whole(4), slice(2);
    block_square_sums(stream, x.data(), count(x), whole.data());
    block_square_sums(stream, x.data() + 2 * kNormBlock, kNormBlock + 5, slice.data());
    EXPECT_EQ(slice[0], whole[2]);
    EXPECT_EQ(slice[1], whole[3]);
}

TEST(BlockSquareSums, OfNonFiniteValuesAreNotFinite) {
    std::vector<float> x = random_floats(20, 9);
    x[17] = std::nanf("");
    CpuStream stream{1, nullptr};
    double sum = 0.0;
    block_square_sums(stream, x.data(), 20, &sum);
    EXPECT_TRUE(std::isnan(sum));
}

TEST(ApplyDropout, OfASliceOfRowsOrOfChannelsIsTheWholesSlice) {
    const Dropout dropout = make_dropout(0.3, kKey);
    const RowPlace place{3, 11, 5};
    constexpr std::int64_t kRows = 21, kWidth = 150;
    const std::vector<float> x = random_floats(kRows * kWidth, 1);
    std::vector<float> whole(x.size());
    CpuStream stream{2, nullptr};
    apply_dropout(stream, dropout, place, kRows, kWidth, x.data(), whole.data());
    for (const std::int64_t first_row : {0, 1, 3, 13, 20})  // within a sample and at its start
        for (const std::int64_t first_channel : {0, 8, 24, 64, 72, 144})
            for (const std::int64_t rows : {std::int64_t{1}, kRows - first_row}) {
                RowPlace of_slice = place;
                of_slice.first_row = first_row;
                of_slice.first_channel = first_channel;
                const std::int64_t width = kWidth - first_channel;
                std::vector<float> slice, wanted;
                for (std::int64_t r = first_row; r < first_row + rows; ++r)
                    for (std::int64_t c = first_channel; c < kWidth; ++c) {
                        slice.push_back(at(x, r * kWidth + c));
                        wanted.push_back(at(whole, r * kWidth + c));
                    }
                apply_dropout(stream, dropout, of_slice, rows, width, slice.data(), slice.data());
                EXPECT_EQ(slice, wanted) << "from row " << first_row << ", channel " << first_channel;
            }
}

}  // namespace
}  // namespace skein::kernels
