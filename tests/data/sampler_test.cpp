#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

TEST(KeyedPermutation, IsABijectionForEverySize) {
    for (std::uint64_t size = 1; size <= 600; size = size < 70 ? size + 1 : size + 37)
        for (std::uint64_t seed = 0; seed < 3; ++seed) {
            const KeyedPermutation order(size, philox_key(seed, RandomPurpose::kSampleOrder, 0, 0));
            std::set<std::uint64_t> seen;
            for (std::uint64_t i = 0; i < size; ++i) seen.insert(order.at(i));
            ASSERT_EQ(seen.size(), size);
            ASSERT_LT(*seen.rbegin(), size);
        }
}

TEST(KeyedPermutation, DependsOnTheKeyAndReachesLargeIndices) {
    const std::uint64_t size = (std::uint64_t{1} << 40) + 12345;
    const KeyedPermutation a(size, {1, 2}), b(size, {1, 3});
    std::set<std::uint64_t> seen;
    bool is_large = false;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        ASSERT_LT(a.at(i), size);
        seen.insert(a.at(i));
        EXPECT_NE(a.at(i),
                  b.at(i));  // equal by chance once in 10^9 runs of this loop, and the keys are fixed
        is_large = is_large || a.at(i) > size / 2;
    }
    EXPECT_EQ(seen.size(), 1000u);
    EXPECT_TRUE(is_large);
}

TEST(KeyedPermutation, EveryPlaceGetsEveryWindowAboutEquallyOften) {
    constexpr std::uint64_t kSize = 5, kKeys = 4000;
    std::vector<std::vector<int>> counts(kSize, std::vector<int>(kSize));
    for (std::uint64_t seed = 0; seed < kKeys; ++seed) {
        const KeyedPermutation order(kSize, philox_key(seed, RandomPurpose::kSampleOrder, 0, 0));
        for (std::uint64_t i = 0; i < kSize; ++i) ++counts[i][order.at(i)];
    }
    // Each count is binomial(4000, 1/5): mean 800, standard deviation 25.3. Six of them.
    for (const auto& row : counts)
        for (const int count : row) EXPECT_NEAR(count, 800, 152);
}

TEST(StreamSampler, AnEpochTilesTheStreamOnceFromItsOffset) {
    for (const std::uint64_t tokens : {20u, 21u, 29u, 30u, 1000u, 1009u}) {
        const StreamSampler sampler(tokens, 10, 7);
        EXPECT_EQ(sampler.windows_per_epoch(), tokens / 10 - 1);
        for (std::uint64_t epoch = 0; epoch < 50; ++epoch) {
            std::set<std::uint64_t> starts;
            for (std::uint64_t i = 0; i < sampler.windows_per_epoch(); ++i)
                starts.insert(sampler.start(sampler.sample({epoch, i})));
            ASSERT_LT(sampler.offset(epoch), 10u);
            ASSERT_EQ(*starts.begin(), sampler.offset(epoch));
            ASSERT_EQ(starts.size(), sampler.windows_per_epoch());
            ASSERT_EQ(*starts.rbegin(), sampler.offset(epoch) + 10 * (sampler.windows_per_epoch() - 1));
            ASSERT_LE(*starts.rbegin() + 10, tokens - 1);  // its last target
        }
    }
}

TEST(StreamSampler, EpochsDifferInOffsetAndOrderAndSeedsDiffer) {
    const StreamSampler sampler(100'000, 64, 1), other(100'000, 64, 2);
    const std::uint64_t windows = sampler.windows_per_epoch();
    std::set<std::uint64_t> offsets;
    for (std::uint64_t epoch = 0; epoch < 200; ++epoch) offsets.insert(sampler.offset(epoch));
    EXPECT_GT(offsets.size(), 50u);  // of 64: 200 draws leave 64·(63/64)^200 = 2.7 unseen on average
    std::uint64_t same_order = 0, same_seed = 0;
    for (std::uint64_t i = 0; i < windows; ++i) {
        const auto index = [&](const StreamSampler& s, std::uint64_t epoch) {
            return (s.start(s.sample({epoch, i})) - s.offset(epoch)) / 64;
        };
        same_order += index(sampler, 0) == index(sampler, 1) ? 1 : 0;
        same_seed += index(sampler, 0) == index(other, 0) ? 1 : 0;
    }
    EXPECT_LT(same_order, 10u);  // one on average, whatever the size
    EXPECT_LT(same_seed, 10u);
}

TEST(StreamSampler, ItsOrderIsPartOfThePromise) {
    // Computed by this code when the format was fixed: a change here changes every run.
    const StreamSampler sampler(1000, 10, 1234);
    std::vector<std::uint64_t> starts;
    for (const std::uint64_t sample : {0u, 1u, 2u, 98u, 99u, 100u, 1'000'000u})
        starts.push_back(sampler.start(sample));
    EXPECT_EQ(starts, (std::vector<std::uint64_t>{284, 54, 864, 724, 274, 704, 511}));
}

TEST(StreamSampler, PlacesAndSampleNumbersAreTheSame) {
    const StreamSampler sampler(1000, 10, 3);
    for (const std::uint64_t sample : {0u, 98u, 99u, 100u, 1'000'000u})
        EXPECT_EQ(sampler.sample(sampler.cursor(sample)), sample);
    EXPECT_EQ(sampler.cursor(99), (Cursor{1, 0}));
}

TEST(StreamSampler, RefusesAStreamWithoutAWindow) {
    EXPECT_THROW(StreamSampler(19, 10, 0), DataError);
    EXPECT_THROW(StreamSampler(0, 10, 0), DataError);
    EXPECT_THROW(StreamSampler(100, 0, 0), ConfigError);
    EXPECT_EQ(StreamSampler(20, 10, 0).windows_per_epoch(), 1u);
}

/// Token i is i, over three shards.
class CountedStream {
  public:
    CountedStream() {
        ShardWriter writer(folder_.path(), "train", header_, false, 400);
        std::vector<std::int32_t> ids(1000);
        std::iota(ids.begin(), ids.end(), 0);
        writer.append(ids);
        stream_.emplace(folder_.path(), writer.finish(), header_);
    }
    const TokenStream& operator*() const { return *stream_; }

  private:
    TemporaryFolder folder_;
    ShardHeader header_{1000, "chars", ""};
    std::optional<TokenStream> stream_;
};

TEST(TokenBatch, TargetsAreInputsOneFurtherOnAlsoAcrossShardsAndEpochs) {
    const CountedStream stream;
    const StreamSampler sampler(1000, 10, 5);
    const TokenBatch batch = read_samples(*stream, sampler, 90, 30);  // an epoch has 99 samples
    ASSERT_EQ(batch.samples(), 30u);
    ASSERT_EQ(batch.inputs.size(), 300u);
    for (std::uint64_t row = 0; row < 30; ++row) {
        EXPECT_EQ(batch.ordinals[row], 90 + row);
        for (std::uint64_t i = 0; i < 10; ++i) {
            EXPECT_EQ(batch.inputs[row * 10 + i], static_cast<std::int32_t>(sampler.start(90 + row) + i));
            EXPECT_EQ(batch.targets[row * 10 + i], batch.inputs[row * 10 + i] + 1);
        }
    }
}

TEST(TokenBatch, RanksPartsJoinToTheGlobalBatch) {
    const CountedStream stream;
    const StreamSampler sampler(1000, 10, 5);
    const TokenBatch whole = read_samples(*stream, sampler, 95, 13);
    for (std::uint64_t ranks = 1; ranks <= 16; ++ranks) {
        TokenBatch joined;
        for (std::uint64_t rank = 0; rank < ranks; ++rank) {
            const std::uint64_t low = rank * 13 / ranks, high = (rank + 1) * 13 / ranks;
            const TokenBatch part = read_samples(*stream, sampler, 95 + low, high - low);
            joined.inputs.insert(joined.inputs.end(), part.inputs.begin(), part.inputs.end());
            joined.targets.insert(joined.targets.end(), part.targets.begin(), part.targets.end());
            joined.ordinals.insert(joined.ordinals.end(), part.ordinals.begin(), part.ordinals.end());
        }
        EXPECT_EQ(joined.inputs, whole.inputs);
        EXPECT_EQ(joined.targets, whole.targets);
        EXPECT_EQ(joined.ordinals, whole.ordinals);
    }
}

TEST(TokenBatch, ValidationIsEveryFullWindowOnceInOrder) {
    EXPECT_EQ(validation_windows(0, 10), 0u);
    EXPECT_EQ(validation_windows(10, 10), 0u);
    EXPECT_EQ(validation_windows(11, 10), 1u);
    EXPECT_EQ(validation_windows(111'540, 64), 1742u);  // Shakespeare's validation split, context 64
    const CountedStream stream;
    const std::uint64_t windows = validation_windows(1000, 64);
    ASSERT_EQ(windows, 15u);
    std::vector<std::int32_t> inputs;
    for (std::uint64_t first = 0; first < windows; first += 4) {
        const TokenBatch batch =
            read_validation(*stream, 64, first, std::min<std::uint64_t>(4, windows - first));
        inputs.insert(inputs.end(), batch.inputs.begin(), batch.inputs.end());
        EXPECT_EQ(batch.targets.back(), batch.inputs.back() + 1);
    }
    std::vector<std::int32_t> wanted(15 * 64);
    std::iota(wanted.begin(), wanted.end(), 0);
    EXPECT_EQ(inputs, wanted);
}

}  // namespace
}  // namespace skein
