#pragma once

#include "model/base/error.h"
#include "model/kernels/cuda/eight.cuh"

/// A block works on a whole row, which its threads hold in registers: thread t the eights t, t + threads,
/// ..., kOwned of them.
namespace skein::kernels::cuda {

inline constexpr int kMostRowThreads = 512, kMostOwned = 4;
inline constexpr std::int64_t kWidestNorm = std::int64_t{8} * kMostRowThreads * kMostOwned;

/// The first column of the k-th eight that this thread holds; at or past the width where it has none.
__device__ inline std::int64_t owned_column(int k) {
    return (static_cast<std::int64_t>(k) * block_threads() + thread_index()) * 8;
}

/// Calls body(threads, std::integral_constant kOwned) with what a width needs.
template <class Body>
void for_row_shape(const char* operation, std::int64_t width, const Body& body) {
    if (width > kWidestNorm)
        throw ShapeError(text(operation, ": width is ", width, ", wanted at most ", kWidestNorm));
    const std::int64_t eights = divide_up(width, 8);
    const auto threads =
        static_cast<int>(std::min<std::int64_t>(kMostRowThreads, divide_up(eights, 32) * 32));
    if (eights <= threads) {
        body(threads, std::integral_constant<int, 1>{});
    } else {
        body(threads, std::integral_constant<int, kMostOwned>{});
    }
}

}  // namespace skein::kernels::cuda
