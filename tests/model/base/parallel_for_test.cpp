#include "model/base/parallel_for.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace skein {
namespace {

TEST(ParallelFor, CallsEveryTaskOnce) {
    for (const int threads : {1, 2, 3, 7})
        for (const std::int64_t count : {0, 1, 2, 5, 1000}) {
            std::vector<std::atomic<int>> even(static_cast<std::size_t>(count)),
                uneven(static_cast<std::size_t>(count));
            parallel_for(threads, count, [&](std::int64_t i) { ++even[static_cast<std::size_t>(i)]; });
            parallel_for_uneven(threads, count,
                                [&](std::int64_t i) { ++uneven[static_cast<std::size_t>(i)]; });
            for (std::int64_t i = 0; i < count; ++i) {
                ASSERT_EQ(even[static_cast<std::size_t>(i)], 1);
                ASSERT_EQ(uneven[static_cast<std::size_t>(i)], 1);
            }
        }
}

TEST(ParallelFor, EndsBeforeItReturnsRoundAfterRound) {
    std::int64_t total = 0;
    for (int round = 0; round < 2'000; ++round) {
        std::int64_t parts[4] = {};
        parallel_for(2 + round % 3, 4, [&](std::int64_t i) { parts[i] = i + round; });
        for (const std::int64_t part : parts) total += part;
    }
    EXPECT_EQ(total, 2'000LL * 6 + 4LL * (1'999LL * 2'000 / 2));
}

TEST(ParallelFor, InsideATaskRunsOneAfterTheOther) {
    std::atomic<int> calls{0};
    parallel_for(3, 3, [&](std::int64_t) { parallel_for(3, 5, [&](std::int64_t) { ++calls; }); });
    EXPECT_EQ(calls, 15);
}

TEST(ParallelFor, HandsOnWhatATaskThrowsAndGoesOnWorking) {
    for (const std::int64_t thrower : {0, 3}) {
        EXPECT_THROW(parallel_for(2, 4,
                                  [&](std::int64_t i) {
                                      if (i == thrower) throw std::runtime_error("task");
                                  }),
                     std::runtime_error);
        std::atomic<int> calls{0};
        parallel_for(2, 4, [&](std::int64_t) { ++calls; });
        EXPECT_EQ(calls, 4);
    }
}

TEST(ParallelFor, ServesCallersOnSeveralThreads) {
    std::atomic<std::int64_t> total{0};
    const auto work = [&] {
        for (int round = 0; round < 500; ++round) parallel_for(2, 10, [&](std::int64_t i) { total += i; });
    };
    std::thread other(work);
    work();
    other.join();
    EXPECT_EQ(total, 2 * 500 * 45);
}

TEST(ParallelBlocks, CutsAtMultiplesOfTheBlockWhateverTheThreads) {
    for (const int threads : {1, 2, 3}) {
        std::vector<std::int64_t> ends(4);
        parallel_blocks(threads, 10, 3, [&](std::int64_t begin, std::int64_t end) {
            EXPECT_EQ(begin % 3, 0);
            ends[static_cast<std::size_t>(begin / 3)] = end;
        });
        EXPECT_EQ(ends, (std::vector<std::int64_t>{3, 6, 9, 10}));
    }
}

}  // namespace
}  // namespace skein
