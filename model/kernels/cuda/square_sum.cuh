#pragma once

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/reduce.cuh"

namespace skein::kernels::cuda {

/// Σ x² over [0, count) in fp64, in every thread of the block: thread t sums the eights t, t + threads, ...
/// in order; then a tree over the threads. Squares of fp32 are exact in fp64.
template <class T>
__device__ inline double square_sum(const T* x, std::int64_t count, bool aligned) {
    double total = 0.0;
    for (std::int64_t i = thread_index() * std::int64_t{8}; i < count;
         i += block_threads() * std::int64_t{8}) {
        const Eight values = load_eight(x + i, count - i, aligned);
        for (int j = 0; j < 8; ++j)
            total += static_cast<double>(values.v[j]) * static_cast<double>(values.v[j]);
    }
    return block_sum(total);
}

}  // namespace skein::kernels::cuda
