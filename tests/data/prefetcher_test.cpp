#include "data/prefetcher.h"

#include <gtest/gtest.h>

#include <atomic>

#include "data/sampler.h"
#include "model/base/error.h"

namespace skein {
namespace {

TokenBatch made(std::uint64_t index) {
    TokenBatch batch;
    batch.context = 1;
    batch.inputs = {static_cast<std::int32_t>(index)};
    batch.targets = {static_cast<std::int32_t>(index + 1)};
    batch.ordinals = {index};
    return batch;
}

TEST(Prefetcher, GivesWhatDirectReadingGivesInOrder) {
    for (const std::size_t depth : {0u, 1u, 2u, 7u}) {
        Prefetcher prefetcher(made, 17, depth);
        for (std::uint64_t i = 17; i < 517; ++i) {
            const TokenBatch batch = prefetcher.next();
            ASSERT_EQ(batch.ordinals, made(i).ordinals);
            ASSERT_EQ(batch.inputs, made(i).inputs);
        }
    }
}

TEST(Prefetcher, StaysAtMostItsDepthAhead) {
    std::atomic<std::uint64_t> consumed = 0, too_far = 0, calls = 0;
    Prefetcher prefetcher(
        [&](std::uint64_t index) {
            if (index > consumed + 3) ++too_far;  // three ready, none in the consumer's hands
            ++calls;
            return made(index);
        },
        0, 3);
    for (int i = 0; i < 200; ++i) {
        // Counted before the call: the thread may go on as soon as next() has taken one.
        ++consumed;
        prefetcher.next();
    }
    EXPECT_EQ(too_far, 0u);
    EXPECT_GE(calls, 200u);
}

TEST(Prefetcher, AnErrorComesOutInItsPlaceAndStays) {
    Prefetcher prefetcher(
        [](std::uint64_t index) {
            if (index == 3) throw DataError("batch 3 is broken");
            return made(index);
        },
        0, 8);
    for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(prefetcher.next().ordinals[0], i);
    EXPECT_THROW(prefetcher.next(), DataError);
    EXPECT_THROW(prefetcher.next(), DataError);
}

TEST(Prefetcher, IsDestroyedAtAnyMoment) {
    for (std::uint64_t taken = 0; taken < 20; ++taken) {
        Prefetcher prefetcher(made, 0, 4);
        for (std::uint64_t i = 0; i < taken; ++i) prefetcher.next();
    }
    Prefetcher failing([](std::uint64_t) -> TokenBatch { throw DataError("broken"); }, 0, 4);
}

}  // namespace
}  // namespace skein
