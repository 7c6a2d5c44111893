#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
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
    /// From one rank to another. Who sends and who receives number the messages in their own order.
    struct Box {
        std::uint64_t sent = 0, expected = 0;
        std::map<std::uint64_t, std::vector<std::byte>> messages;
    };
    struct Mail {
        std::mutex mutex;
        std::condition_variable arrived;
        std::map<std::tuple<int, int, int>, Box> boxes;  ///< by channel, sender and receiver
        bool is_left = false;  ///< a rank threw: nobody waits for what does not come any more
    };
    /// What those throw that wait for a rank that left.
    struct Left : std::logic_error {
        Left() : std::logic_error("another rank threw") {}
    };

    ThreadCommunicator(std::shared_ptr<Mail> mail, int rank, int size, int channel = 0)
        : mail_(std::move(mail)), rank_(rank), size_(size), channel_(channel) {}
    int rank() const override { return rank_; }
    int size() const override { return size_; }
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                           const CallSite& = {"exchange", std::source_location::current()}) override {
        const std::lock_guard lock(mail_->mutex);
        for (const Outgoing& out : send) {
            Box& box = mail_->boxes[{channel_, rank_, out.peer}];
            box.messages[box.sent++].assign(out.bytes.begin(), out.bytes.end());
        }
        mail_->arrived.notify_all();
        std::vector<Expected> expected;
        for (const Incoming& in : receive) {
            Box& box = mail_->boxes[{channel_, in.peer, rank_}];
            expected.push_back({&box, box.expected++, in.bytes});
        }
        return Pending(std::make_unique<Receipt>(mail_, std::move(expected)));
    }
    /// In the order of ranks: as good as any other.
    Pending start_fast_all_reduce(std::span<float> values,
                                  std::source_location where = std::source_location::current()) override {
        all_reduce(values, Reduction::kSum, where);
        return {};
    }
    /// Ranks duplicate in the same order, so the copies' channels have the same numbers on all.
    std::unique_ptr<Communicator> duplicate() override {
        return std::make_unique<ThreadCommunicator>(mail_, rank_, size_, channel_ * 16 + ++duplicates_);
    }

  private:
    struct Expected {
        Box* box;
        std::uint64_t number;
        std::span<std::byte> bytes;
    };
    /// Of the messages that belong to one exchange.
    class Receipt final : public Pending::Operation {
      public:
        Receipt(std::shared_ptr<Mail> mail, std::vector<Expected> expected)
            : mail_(std::move(mail)), expected_(std::move(expected)) {}
        bool poll() override {
            const std::lock_guard lock(mail_->mutex);
            return take();
        }
        bool wait() override {
            std::unique_lock lock(mail_->mutex);
            mail_->arrived.wait(lock, [&] { return take(); });
            return true;
        }

      private:
        bool take() {
            std::erase_if(expected_, [](const Expected& in) {
                const auto found = in.box->messages.find(in.number);
                if (found == in.box->messages.end()) return false;
                if (found->second.size() != in.bytes.size())
                    throw std::logic_error("message of another length");
                std::ranges::copy(found->second, in.bytes.begin());
                in.box->messages.erase(found);
                return true;
            });
            if (!expected_.empty() && mail_->is_left) throw Left();
            return expected_.empty();
        }

        std::shared_ptr<Mail> mail_;
        std::vector<Expected> expected_;
    };

    std::shared_ptr<Mail> mail_;
    int rank_, size_, channel_, duplicates_ = 0;
};

/// Where a rank stands: data x tensor ranks, those of a tensor group side by side.
struct ThreadGroups {
    Communicator& world;
    Communicator& data;
    Communicator& tensor;
};

/// Runs body(groups) on data x tensor ranks and returns when all have. When a rank throws, those that wait
/// for it do as well; rethrows what was thrown first, by rank.
inline void on_grid(int data, int tensor, const std::function<void(const ThreadGroups&)>& body) {
    constexpr int kDataChannels = 1'000'000, kTensorChannels = 2'000'000;  // far from duplicates' channels
    const auto mail = std::make_shared<ThreadCommunicator::Mail>();
    std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(data * tensor)), left = thrown;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < data * tensor; ++rank)
        threads.emplace_back([&, rank] {
            const int row = rank / tensor, column = rank % tensor;
            ThreadCommunicator world(mail, rank, data * tensor);
            ThreadCommunicator like_this(mail, row, data, kDataChannels + column);
            ThreadCommunicator one_model(mail, column, tensor, kTensorChannels + row);
            try {
                body({world, like_this, one_model});
                return;
            } catch (const ThreadCommunicator::Left&) {
                left[static_cast<std::size_t>(rank)] = std::current_exception();
            } catch (...) {
                thrown[static_cast<std::size_t>(rank)] = std::current_exception();
            }
            const std::lock_guard lock(mail->mutex);
            mail->is_left = true;
            mail->arrived.notify_all();
        });
    for (std::thread& thread : threads) thread.join();
    for (const auto* all : {&thrown, &left})
        for (const std::exception_ptr& one : *all)
            if (one) std::rethrow_exception(one);
}

/// Runs body(communicator) on `size` ranks, as on_grid does.
inline void on_ranks(int size, const std::function<void(Communicator&)>& body) {
    on_grid(size, 1, [&](const ThreadGroups& groups) { body(groups.world); });
}

}  // namespace skein
