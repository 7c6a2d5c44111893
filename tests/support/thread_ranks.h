#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "model/tensor/communicator.h"

namespace skein {

/// Ranks that are threads of this process.
class ThreadCommunicator final : public Communicator {
  public:
    struct Mail {
        std::mutex mutex;
        std::condition_variable arrived;
        // by channel, sender and receiver
        std::map<std::tuple<int, int, int>, std::deque<std::vector<std::byte>>> boxes;
    };

    ThreadCommunicator(std::shared_ptr<Mail> mail, int rank, int size, int channel = 0)
        : mail_(std::move(mail)), rank_(rank), size_(size), channel_(channel) {}
    int rank() const override { return rank_; }
    int size() const override { return size_; }
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                           const CallSite& = {"exchange", std::source_location::current()}) override {
        std::unique_lock lock(mail_->mutex);
        for (const Outgoing& out : send)
            mail_->boxes[{channel_, rank_, out.peer}].emplace_back(out.bytes.begin(), out.bytes.end());
        mail_->arrived.notify_all();
        for (const Incoming& in : receive) {
            auto& box = mail_->boxes[{channel_, in.peer, rank_}];
            mail_->arrived.wait(lock, [&] { return !box.empty(); });
            if (box.front().size() != in.bytes.size()) throw std::logic_error("message of another length");
            if (!in.bytes.empty()) std::memcpy(in.bytes.data(), box.front().data(), in.bytes.size());
            box.pop_front();
        }
        return {};
    }
    Pending start_fast_all_reduce(std::span<float>,
                                  std::source_location = std::source_location::current()) override {
        throw std::logic_error("not for tests on threads");
    }
    /// Ranks duplicate in the same order, so the copies' channels have the same numbers on all.
    std::unique_ptr<Communicator> duplicate() override {
        return std::make_unique<ThreadCommunicator>(mail_, rank_, size_, channel_ * 16 + ++duplicates_);
    }

  private:
    std::shared_ptr<Mail> mail_;
    int rank_, size_, channel_, duplicates_ = 0;
};

/// Runs body(communicator) on `size` ranks and returns when all have; rethrows the first rank's exception.
inline void on_ranks(int size, const std::function<void(Communicator&)>& body) {
    const auto mail = std::make_shared<ThreadCommunicator::Mail>();
    std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
        threads.emplace_back([&, rank] {
            ThreadCommunicator communicator(mail, rank, size);
            try {
                body(communicator);
            } catch (...) {
                thrown[static_cast<std::size_t>(rank)] = std::current_exception();
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& one : thrown)
        if (one) std::rethrow_exception(one);
}

}  // namespace skein
