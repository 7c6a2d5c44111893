#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "data/sampler.h"

namespace skein {

/// Keeps the next batches ready: a thread of its own calls `read(first)`, `read(first + 1)`, … and stays at
/// most `depth` batches ahead. What next() gives is what direct calls give, in the same order.
class Prefetcher {
  public:
    /// `read` is called in that thread only, until the destructor returns; what it refers to outlives this.
    Prefetcher(std::function<TokenBatch(std::uint64_t)> read, std::uint64_t first, std::size_t depth);
    Prefetcher(const Prefetcher&) = delete;
    Prefetcher& operator=(const Prefetcher&) = delete;
    /// Waits for a call of `read` in progress, starts no other.
    ~Prefetcher();

    /// The next batch; waits only when it is not there yet. Rethrows, in its place in the order and from then
    /// on, what `read` threw.
    TokenBatch next();

  private:
    void work();

    const std::function<TokenBatch(std::uint64_t)> read_;
    const std::size_t depth_;
    std::uint64_t index_;  // of the next call; the thread's own

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<TokenBatch> ready_;
    std::exception_ptr error_;  // what ended the thread
    bool stops_ = false;
    std::thread thread_;
};

}  // namespace skein
