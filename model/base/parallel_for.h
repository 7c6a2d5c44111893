#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace skein {

/// Calls task(i) for every i in [0, count) on up to `threads` threads. Which thread takes which i is left open, so what
/// task(i) computes must depend on i alone: that is what makes results independent of the number of threads. Tasks must
/// not throw.
template <class Task>
void parallel_for(int threads, std::int64_t count, const Task& task) {
    if (threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) task(i);
        return;
    }
    const int team = count < threads ? static_cast<int>(count) : threads;
#pragma omp parallel for num_threads(team) schedule(static)
    for (std::int64_t i = 0; i < count; ++i) task(i);
}

/// As parallel_for, for tasks of unequal length: a thread that is free takes the next one.
template <class Task>
void parallel_for_uneven(int threads, std::int64_t count, const Task& task) {
    if (threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) task(i);
        return;
    }
    const int team = count < threads ? static_cast<int>(count) : threads;
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (std::int64_t i = 0; i < count; ++i) task(i);
}

/// Splits [0, count) into blocks of `block` elements, a fixed cut that no thread count changes, and calls
/// task(begin, end) for each.
template <class Task>
void parallel_blocks(int threads, std::int64_t count, std::int64_t block, const Task& task) {
    const std::int64_t blocks = (count + block - 1) / block;
    parallel_for(threads, blocks, [&](std::int64_t i) {
        const std::int64_t begin = i * block;
        task(begin, begin + block < count ? begin + block : count);
    });
}

/// The number of processors that this process may run on (its affinity mask).
int bound_processors();

}  // namespace skein
