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

/// The largest of the block's numbers, none of which is NaN. All threads of the block call it.
__device__ inline float block_largest(float x) {
    SKEIN_SHARED(float, of_warps, kWarp);
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp, warps = block_threads() / kWarp;
    const auto of_warp = [](float own) {
        for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
            const float other = shuffle_xor(own, lanes);
            own = other > own ? other : own;
        }
        return own;
    };
    x = of_warp(x);
    if (warps == 1) return x;
    sync_threads();  // the readers of an earlier call are through
    if (lane == 0) of_warps[warp] = x;
    sync_threads();
    return of_warp(of_warps[lane < warps ? lane : 0]);
}

}  // namespace skein::kernels::cuda
