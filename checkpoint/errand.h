#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace skein {

/// One piece of work in a thread of its own, which gives a text or an error.
class Errand {
  public:
    using Work = std::function<std::string(const std::stop_token&)>;

    /// The one before must be over.
    void begin(Work work);
    /// Nothing to do, or nothing that could be begun: over at once, with this result.
    void skip(std::string result = {});
    void fail(const std::string& why);
    bool is_over() const { return over_.load(std::memory_order_acquire); }
    /// Until it is over, but no longer than `most`.
    void wait_for(std::chrono::milliseconds most);
    /// It may end early, with an error.
    void ask_to_stop() { thread_.request_stop(); }
    // Once it is over:
    bool has_failed() const { return failed_; }
    /// What it gave, or the error's message.
    const std::string& result() const { return result_; }
    double seconds() const { return seconds_; }

  private:
    std::atomic<bool> over_{true};
    std::mutex ending_;
    std::condition_variable ended_;
    bool failed_ = false;
    std::string result_;
    double seconds_ = 0.0;
    std::jthread thread_;  // last: it is joined first
};

}  // namespace skein
