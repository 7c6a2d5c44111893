#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

namespace skein {

/// Keeps the next batches ready: a thread of its own calls `read(first)`, `read(first + 1)`, … and stays at
/// most `depth` batches ahead. What next() gives is what direct calls give, in the same order.
template <class Batch>
class Prefetcher {
  public:
    /// `read` is called in that thread only, until the destructor returns; what it refers to outlives this.
    Prefetcher(std::function<Batch(std::uint64_t)> read, std::uint64_t first, std::size_t depth)
        : read_(std::move(read)),
          depth_(depth == 0 ? 1 : depth),
          index_(first),
          thread_([this] { work(); }) {}
    Prefetcher(const Prefetcher&) = delete;
    Prefetcher& operator=(const Prefetcher&) = delete;
    /// Waits for a call of `read` in progress, starts no other.
    ~Prefetcher() {
        {
            const std::lock_guard lock(mutex_);
            stops_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    /// The next batch; waits only when it is not there yet. Rethrows, in its place in the order and from then
    /// on, what `read` threw.
    Batch next() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !ready_.empty() || error_ != nullptr; });
        if (ready_.empty()) std::rethrow_exception(error_);
        Batch batch = std::move(ready_.front());
        ready_.pop_front();
        lock.unlock();
        changed_.notify_all();
        return batch;
    }

  private:
    void work() {
        try {
            while (true) {
                {
                    std::unique_lock lock(mutex_);
                    changed_.wait(lock, [&] { return stops_ || ready_.size() < depth_; });
                    if (stops_) return;
                }
                Batch batch = read_(index_++);
                {
                    const std::lock_guard lock(mutex_);
                    ready_.push_back(std::move(batch));
                }
                changed_.notify_all();
            }
        } catch (...) {
            {
                const std::lock_guard lock(mutex_);
                error_ = std::current_exception();
            }
            changed_.notify_all();
        }
    }

    const std::function<Batch(std::uint64_t)> read_;
    const std::size_t depth_;
    std::uint64_t index_;  // of the next call; the thread's own

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Batch> ready_;
    std::exception_ptr error_;  // what ended the thread
    bool stops_ = false;
    std::thread thread_;
};

template <class Read>
Prefetcher(Read, std::uint64_t, std::size_t) -> Prefetcher<std::invoke_result_t<Read&, std::uint64_t>>;

}  // namespace skein
