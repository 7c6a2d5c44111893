#include "data/prefetcher.h"

#include <utility>

namespace skein {

Prefetcher::Prefetcher(std::function<TokenBatch(std::uint64_t)> read, std::uint64_t first, std::size_t depth)
    : read_(std::move(read)), depth_(depth == 0 ? 1 : depth), index_(first), thread_([this] { work(); }) {}

Prefetcher::~Prefetcher() {
    {
        const std::lock_guard lock(mutex_);
        stops_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Prefetcher::work() {
    try {
        while (true) {
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return stops_ || ready_.size() < depth_; });
                if (stops_) return;
            }
            TokenBatch batch = read_(index_++);
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

TokenBatch Prefetcher::next() {
    TokenBatch batch;
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !ready_.empty() || error_ != nullptr; });
        if (ready_.empty()) std::rethrow_exception(error_);
        batch = std::move(ready_.front());
        ready_.pop_front();
    }
    changed_.notify_all();
    return batch;
}

}  // namespace skein
