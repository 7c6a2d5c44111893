#include "checkpoint/errand.h"

#include <exception>
#include <utility>

namespace skein {

void Errand::begin(Work work) {
    over_.store(false, std::memory_order_relaxed);
    failed_ = false;
    try {
        thread_ = std::jthread([this, work = std::move(work)](const std::stop_token& stop) {
            const auto start = std::chrono::steady_clock::now();
            try {
                result_ = work(stop);
            } catch (const std::exception& error) {
                failed_ = true;
                result_ = error.what();
            }
            seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            const std::lock_guard lock(ending_);
            over_.store(true, std::memory_order_release);
            ended_.notify_all();
        });
    } catch (const std::exception& error) {  // no thread to be had
        fail(error.what());
    }
}

void Errand::wait_for(std::chrono::milliseconds most) {
    std::unique_lock lock(ending_);
    ended_.wait_for(lock, most, [this] { return is_over(); });
}

void Errand::skip(std::string result) {
    failed_ = false;
    seconds_ = 0.0;
    result_ = std::move(result);
    over_.store(true, std::memory_order_relaxed);
}

void Errand::fail(const std::string& why) {
    skip(why);
    failed_ = true;
}

}  // namespace skein
