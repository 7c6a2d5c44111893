#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace skein {

namespace detail {

/// Calls body(context, i) for i = 0 ... threads - 1 at the same time, 0 on the caller's own thread, and
/// returns when all have. Inside a body it runs them one after the other.
void run_on_team(int threads, void (*body)(const void* context, int thread), const void* context);

template <class Body>
void on_team(int threads, const Body& body) {
    run_on_team(
        threads, [](const void* context, int thread) { (*static_cast<const Body*>(context))(thread); },
        &body);
}

}  // namespace detail

/// Calls task(i) for every i in [0, count) on up to `threads` threads. Which thread takes which i is left
/// open, so what task(i) computes must depend on i alone: that is what makes results independent of the
/// number of threads. What a task throws comes out of the call, once every thread is done; of several errors
/// one.
///
/// The threads are the calling thread's own team, kept from call to call. Between calls they wait for the
/// next one actively for some tens of microseconds, then asleep: OpenMP's, which wait actively for
/// milliseconds, ran training 17 times slower than this where another process wanted one of two cores.
template <class Task>
void parallel_for(int threads, std::int64_t count, const Task& task) {
    if (threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) task(i);
        return;
    }
    const int team = count < threads ? static_cast<int>(count) : threads;
    detail::on_team(team, [&](int thread) {
        for (std::int64_t i = count * thread / team; i < count * (thread + 1) / team; ++i) task(i);
    });
}

/// As parallel_for, for tasks of unequal length: a thread that is free takes the next one.
template <class Task>
void parallel_for_uneven(int threads, std::int64_t count, const Task& task) {
    if (threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) task(i);
        return;
    }
    std::atomic<std::int64_t> next{0};
    detail::on_team(count < threads ? static_cast<int>(count) : threads, [&](int) {
        for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
    });
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
