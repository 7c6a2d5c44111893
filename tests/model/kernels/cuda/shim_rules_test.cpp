// The shim itself: that it does what CUDA does, and refuses what CUDA leaves undefined.
#include <numeric>
#include <stdexcept>

#include "tests/model/kernels/cuda/shim_test.h"
#include "tests/support/cuda_shim.h"

namespace skein::kernels::cuda {
namespace {

using test::in_every_order;
using Ints = std::vector<std::int32_t>;

CudaStream stream;

/// The message of the launch that must fail.
template <class F>
std::string failure(const F& f) {
    try {
        f();
    } catch (const std::logic_error& error) {
        return error.what();
    }
    return "it did not fail";
}

__global__ void number_kernel(std::int32_t* out, std::int64_t columns) {
    const std::int64_t block = block_index_y() * columns + block_index();
    out[block * block_threads() + thread_index()] = static_cast<std::int32_t>(block * 1000 + thread_index());
}

TEST(CudaShim, RunsEveryThreadOfEveryBlockOnce) {
    const Ints found = in_every_order([] {
        Ints out(6 * 64, -1);
        launch<number_kernel>({3, 2}, 64, stream, out.data(), std::int64_t{3});
        return out;
    });
    for (int block = 0; block < 6; ++block)
        for (int thread = 0; thread < 64; ++thread)
            EXPECT_EQ(test::at(found, block * 64 + thread), block * 1000 + thread);
    EXPECT_TRUE(test::shim::launched_kernels().contains("number_kernel"));
}

__global__ void reverse_kernel(std::int32_t* values, bool with_barrier) {
    SKEIN_SHARED(std::int32_t, copy, 96);
    const int t = thread_index();
    copy[t] = values[t];
    if (with_barrier) sync_threads();
    values[t] = copy[95 - t];
}

TEST(CudaShim, ABarrierShowsWhatTheOthersWrote) {
    const Ints found = in_every_order([] {
        Ints values(96);
        std::iota(values.begin(), values.end(), 0);
        launch<reverse_kernel>({1, 1}, 96, stream, values.data(), true);
        return values;
    });
    for (int i = 0; i < 96; ++i) EXPECT_EQ(test::at(found, i), 95 - i);
}

TEST(CudaShim, AMissingBarrierShowsInTheOrderOfThreads) {
    const auto run = [](test::shim::Order order) {
        test::shim::set_order(order);
        Ints values(96);
        std::iota(values.begin(), values.end(), 0);
        launch<reverse_kernel>({1, 1}, 96, stream, values.data(), false);
        return values;
    };
    EXPECT_NE(run(test::shim::Order::kForward), run(test::shim::Order::kBackward));
    test::shim::set_order(test::shim::Order::kForward);
}

__global__ void shared_at_start_kernel(std::int32_t* out) {
    SKEIN_SHARED(std::int32_t, values, 32);
    out[block_index() * 32 + thread_index()] = values[thread_index()];
    sync_threads();
    values[thread_index()] = 7;
}

TEST(CudaShim, SharedMemoryIsUndefinedWhenABlockStarts) {
    Ints out(64);
    launch<shared_at_start_kernel>({2, 1}, 32, stream, out.data());
    EXPECT_EQ(out, Ints(64, -1));
}

__global__ void shuffle_kernel(double* up, std::int64_t* across, float* from, unsigned* odd) {
    const int t = thread_index();
    up[t] = shuffle_up(static_cast<double>(t), 3);
    across[t] = shuffle_xor(std::int64_t{t} << 40, 5);
    from[t] = shuffle(static_cast<float>(t), (t + 1) % 32);
    odd[t] = ballot(t % 2 == 1);
}

TEST(CudaShim, ShufflesStayInTheirWarp) {
    std::vector<double> up(64);
    std::vector<std::int64_t> across(64);
    std::vector<float> from(64);
    std::vector<unsigned> odd(64);
    launch<shuffle_kernel>({1, 1}, 64, stream, up.data(), across.data(), from.data(), odd.data());
    for (int t = 0; t < 64; ++t) {
        EXPECT_EQ(test::at(up, t), t % 32 < 3 ? t : t - 3);
        EXPECT_EQ(test::at(across, t), std::int64_t{t ^ 5} << 40);
        EXPECT_EQ(test::at(from, t), static_cast<float>(t / 32 * 32 + (t + 1) % 32));
        EXPECT_EQ(test::at(odd, t), 0xAAAAAAAAu);
    }
}

__global__ void warps_apart_kernel(std::int32_t* out) {
    // warps may shuffle different numbers of times between two barriers
    std::int32_t x = 1;
    for (int i = 0; i <= thread_index() / 32; ++i) x += shuffle_xor(x, 1);
    sync_threads();
    out[thread_index()] = x;
}

TEST(CudaShim, WarpsShuffleIndependently) {
    Ints out(96);
    launch<warps_apart_kernel>({1, 1}, 96, stream, out.data());
    EXPECT_EQ(out[0], 2);
    EXPECT_EQ(out[40], 4);
    EXPECT_EQ(out[95], 8);
}

__global__ void divergent_barrier_kernel() {
    if (thread_index() < 32) {
        sync_threads();
    } else {
        sync_threads();
    }
}
__global__ void early_return_kernel() {
    if (thread_index() == 5) return;
    sync_threads();
}
__global__ void divergent_shuffle_kernel(std::int32_t* out) {
    if (thread_index() % 2 == 0) out[thread_index()] = shuffle_xor(1, 2);
}
__global__ void barrier_or_shuffle_kernel() {
    if (thread_index() < 32) {
        sync_threads();
    } else if (thread_index() == 32) {
        ballot(true);
    }
}

TEST(CudaShim, RefusesThreadsThatComeApart) {
    Ints out(64);
    EXPECT_NE(failure([] {
                  launch<divergent_barrier_kernel>({1, 1}, 64, stream);
              })
                  .find("divergent_barrier_kernel, block (0, 0): the threads come apart: 32 of them, thread "
                        "0 first, waits"),
              std::string::npos);
    EXPECT_NE(failure([] {
                  launch<early_return_kernel>({1, 1}, 64, stream);
              }).find("thread 5 first, has returned"),
              std::string::npos);
    EXPECT_NE(failure([&] {
                  launch<divergent_shuffle_kernel>({1, 1}, 64, stream, out.data());
              }).find("thread 0 first, waits for its warp"),
              std::string::npos);
    EXPECT_THROW(launch<barrier_or_shuffle_kernel>({1, 1}, 64, stream), std::logic_error);
    // and runs on after that
    launch<number_kernel>({1, 1}, 64, stream, out.data(), std::int64_t{1});
    EXPECT_EQ(out[63], 63);
}

__global__ void misaligned_kernel(const float* from) {
    load_sixteen(from + 1);
}
__global__ void large_shared_kernel() {
    SKEIN_SHARED(float, values, 12289);
    values[0] = 0.0f;
}

TEST(CudaShim, RefusesWhatTheDeviceWouldNotDo) {
    const std::vector<float> values(8);
    EXPECT_NE(failure([&] {
                  launch<misaligned_kernel>({1, 1}, 32, stream, values.data());
              }).find("off a multiple of 16"),
              std::string::npos);
    EXPECT_NE(failure([] {
                  launch<large_shared_kernel>({1, 1}, 32, stream);
              }).find("49156 bytes of shared memory"),
              std::string::npos);
    EXPECT_THROW(launch<early_return_kernel>({1, 1}, 33, stream), std::logic_error);
    EXPECT_THROW(launch<early_return_kernel>({1, 1}, 1056, stream), std::logic_error);
    EXPECT_THROW(launch<early_return_kernel>({1, 65536}, 32, stream), std::logic_error);
}

}  // namespace
}  // namespace skein::kernels::cuda
