#pragma once

#include "model/kernels/cuda/portable.cuh"

/// Reductions over the threads of a warp or a block, as fixed trees: every thread gets the result, the same
/// bits in each.
namespace skein::kernels::cuda {

inline constexpr int kWarp = 32;

template <class T>
__device__ inline T warp_sum(T x) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    return x;
}

/// x[i] summed over the block, for each i. All threads of the block call it.
template <class T, int kCount>
__device__ inline void block_sums(T (&x)[kCount]) {
    SKEIN_SHARED(T, of_warps, kWarp * kCount);
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp, warps = block_threads() / kWarp;
    for (int i = 0; i < kCount; ++i) x[i] = warp_sum(x[i]);
    if (warps == 1) return;
    sync_threads();  // the readers of an earlier call are through
    if (lane == 0)
        for (int i = 0; i < kCount; ++i) of_warps[i * kWarp + warp] = x[i];
    sync_threads();
    for (int i = 0; i < kCount; ++i) x[i] = warp_sum(lane < warps ? of_warps[i * kWarp + lane] : T{0});
}

template <class T>
__device__ inline T block_sum(T x) {
    T one[1] = {x};
    block_sums(one);
    return one[0];
}

/// A value and where it stands.
struct Largest {
    float value;
    std::int64_t index;
};

/// The larger value; of equal ones the one that stands first.
__device__ inline Largest larger(Largest a, Largest b) {
    if (a.value != b.value) return a.value > b.value ? a : b;
    return a.index < b.index ? a : b;
}

__device__ inline Largest warp_largest(Largest x) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
        x = larger(x, {shuffle_xor(x.value, lanes), shuffle_xor(x.index, lanes)});
    return x;
}

/// The largest of the block, and of equal ones the first. `none` loses against every other.
__device__ inline Largest block_largest(Largest x, Largest none) {
    SKEIN_SHARED(float, values, kWarp);
    SKEIN_SHARED(std::int64_t, indices, kWarp);
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp, warps = block_threads() / kWarp;
    x = warp_largest(x);
    if (warps == 1) return x;
    sync_threads();  // the readers of an earlier call are through
    if (lane == 0) {
        values[warp] = x.value;
        indices[warp] = x.index;
    }
    sync_threads();
    return warp_largest(lane < warps ? Largest{values[lane], indices[lane]} : none);
}

}  // namespace skein::kernels::cuda
