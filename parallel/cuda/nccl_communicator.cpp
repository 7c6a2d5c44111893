#include "parallel/nccl_communicator.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/tensor/cuda/runtime.h"
#include "model/tensor/memory.h"
#include "parallel/nccl.h"
#include "parallel/progress_board.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

const CudaStream& cuda_stream(Stream& stream) {
    return stream.run([](auto& s) -> const CudaStream& {
        if constexpr (std::is_same_v<decltype(s), CudaStream&>)
            return s;
        else
            throw CudaError("NCCL: the gradients lie on the CPU, wanted a GPU");
    });
}

// Events that are used again when whoever had them last has dropped them.
class Events {
  public:
    std::shared_ptr<void> take() {
        for (const std::shared_ptr<void>& event : events_)
            if (event.use_count() == 1) return event;
        events_.emplace_back(cuda::make_event(), [](void* event) { cuda::destroy_event(event); });
        return events_.back();
    }

  private:
    std::vector<std::shared_ptr<void>> events_;
};

// The ranks that are behind operation `wanted`, as "rank 2 has started 16, rank 3 does not answer".
std::string those_behind(const std::vector<ProgressBoard::Entry>& entries, std::uint64_t wanted) {
    std::string behind;
    for (const auto& [rank, number] : entries) {
        if (number && *number >= wanted) continue;
        behind += text(behind.empty() ? "" : ", ", "rank ", rank);
        behind += number ? text(" has started ", *number) : std::string(" does not answer");
    }
    return behind.empty() ? "every rank has started it" : behind;
}

// Rank 0's identifier; whether it could make one, everybody hears.
nccl::Id agree_on_id(Communicator& group) {
    std::string id, failure = "NCCL: rank 0 could not make an identifier";
    if (group.rank() == 0) {
        try {
            const nccl::Id made = nccl::make_id();
            id.assign(made.begin(), made.end());
        } catch (const CudaError& error) {
            failure = error.what();
        }
    }
    id = group.broadcast_text(id, 0);
    nccl::Id agreed{};
    if (id.size() != agreed.size()) throw CudaError(failure);
    std::copy(id.begin(), id.end(), agreed.begin());
    return agreed;
}

// What outlives the communicator where a Pending does.
class Connection {
  public:
    Connection(const MpiSession& session, Communicator& group, Stream& user, const NcclOptions& options)
        : options_(options),
          user_(cuda_stream(user).handle),
          own_(user.gpu(), 1),
          handle_(cuda_stream(own_).handle),
          board_(session, group),
          rank_(session.rank()) {
        const nccl::Id id = agree_on_id(group);
        begin("connection");
        comm_ = nccl::start(id, group.size(), group.rank());
        settle();
        under_way_.clear();
    }
    ~Connection() {
        if (!comm_) return;
        if (std::uncaught_exceptions() > 0) {
            give_up();
            return;
        }
        try {
            begin("end");
            guarded([&] { nccl::finalize(comm_); });
            settle();
            nccl::destroy(comm_);
        } catch (const Error&) {
            // it was aborted
        }
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    struct Operation {
        const char* name = "";
        std::uint64_t number = 0;
        Clock::time_point since;      // when it began to be waited for
        std::shared_ptr<void> event;  // behind it on the own stream; none while NCCL has not queued it
        bool over = false;
    };

    // Queues an operation behind what the user's stream holds. queue(communicator, stream) is NCCL's call.
    template <class Queue>
    std::shared_ptr<Operation> start(const char* name, const Queue& queue) {
        move_on();
        const std::shared_ptr<void> before = events_.take();
        cuda::record(before.get(), user_);
        cuda::make_wait(handle_, before.get());
        const std::shared_ptr<Operation> operation = begin(name);
        guarded([&] { queue(comm_, handle_); });
        settle();
        operation->event = events_.take();
        cuda::record(operation->event.get(), handle_);
        return operation;
    }

    // Throws for what failed and for what is late.
    bool poll(const Operation& operation) {
        if (!operation.over) move_on();
        return operation.over;
    }

    void let_user_wait(const Operation& operation) {
        move_on();
        cuda::make_wait(user_, operation.event.get());
    }

    Stream& stream() { return own_; }

  private:
    std::shared_ptr<Operation> begin(const char* name) {
        auto operation = std::make_shared<Operation>();
        operation->name = name;
        operation->number = ++started_;
        operation->since = Clock::now();
        board_.publish(started_);
        under_way_.push_back(operation);
        return operation;
    }

    template <class Call>
    std::invoke_result_t<const Call&> guarded(const Call& call) {
        if (!comm_) throw CudaError("NCCL: the communicator was aborted");
        try {
            return call();
        } catch (const Error&) {
            give_up();
            throw;
        }
    }

    void move_on() {
        guarded([&] { nccl::is_settled(comm_); });
        while (!under_way_.empty()) {
            Operation& first = *under_way_.front();
            if (!first.event || !cuda::is_done(first.event.get())) break;
            first.over = true;
            under_way_.pop_front();
            if (!under_way_.empty())
                under_way_.front()->since = std::max(under_way_.front()->since, Clock::now());
        }
        if (under_way_.empty()) return;
        board_.answer();
        const Operation& first = *under_way_.front();
        if (Clock::now() - first.since > std::chrono::duration<double>(options_.timeout_seconds)) fail(first);
    }

    // Returns when NCCL has queued what it was asked for.
    void settle() {
        while (!guarded([&] { return nccl::is_settled(comm_); })) {
            move_on();
            std::this_thread::yield();
        }
    }

    [[noreturn]] void fail(const Operation& late) {
        const std::string what = text("NCCL: ", late.name, " number ", late.number, " is not over after ",
                                      options_.timeout_seconds, " s on rank ", rank_, ": ");
        std::string behind;
        try {
            behind = those_behind(board_.read(options_.patience_seconds), late.number);
        } catch (const Error& error) {
            behind = error.what();
        }
        give_up();
        throw CudaError(what + behind + "; aborted");
    }

    void give_up() noexcept {
        if (comm_) nccl::abort(std::exchange(comm_, nullptr));
        board_.abandon();
    }

    NcclOptions options_;
    void* user_;
    Stream own_;
    void* handle_;  // of own_
    ProgressBoard board_;
    int rank_;
    void* comm_ = nullptr;
    Events events_;
    std::deque<std::shared_ptr<Operation>> under_way_;
    std::uint64_t started_ = 0;
};

class NcclOperation final : public Pending::Operation {
  public:
    NcclOperation(std::shared_ptr<Connection> connection, std::shared_ptr<Connection::Operation> operation)
        : connection_(std::move(connection)), operation_(std::move(operation)) {}
    bool poll() override { return connection_->poll(*operation_); }
    bool wait() override {
        connection_->let_user_wait(*operation_);
        return operation_->over;
    }

  private:
    std::shared_ptr<Connection> connection_;
    std::shared_ptr<Connection::Operation> operation_;
};

class NcclCommunicator final : public Communicator {
  public:
    NcclCommunicator(const MpiSession& session, std::unique_ptr<Communicator> group, Stream& user,
                     const NcclOptions& options)
        : session_(session),
          group_(std::move(group)),
          user_(user),
          options_(options),
          connection_(std::make_shared<Connection>(session, *group_, user, options)) {}

    int rank() const override { return group_->rank(); }
    int size() const override { return group_->size(); }
    Stream* stream() override { return &connection_->stream(); }

    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) override {
        return start("exchange",
                     [&](void* comm, void* stream) { nccl::exchange(comm, send, receive, stream); });
    }
    Pending start_fast_all_reduce(std::span<float> values) override {
        return start("all-reduce", [&](void* comm, void* stream) {
            nccl::all_reduce(comm, values.data(), values.size(), stream);
        });
    }
    std::unique_ptr<Communicator> duplicate() override {
        return std::make_unique<NcclCommunicator>(session_, group_->duplicate(), user_, options_);
    }

  private:
    template <class Queue>
    Pending start(const char* name, const Queue& queue) {
        return Pending(std::make_unique<NcclOperation>(connection_, connection_->start(name, queue)));
    }
    void copy_own(std::span<const std::byte> from, std::span<std::byte> to) override {
        user_.run([&](auto& s) { copy_memory(s, from.data(), to.data(), from.size()); });
    }

    const MpiSession& session_;
    std::unique_ptr<Communicator> group_;
    Stream& user_;
    NcclOptions options_;
    std::shared_ptr<Connection> connection_;
};

}  // namespace

NcclReport find_nccl() {
    const nccl::Report found = nccl::find();
    return {found.version > 0 ? nccl::version_text(found.version) : "", found.missing};
}

std::string place_of(Gpu gpu) {
    return nccl::place_of(gpu.index);
}

std::unique_ptr<Communicator> make_nccl_communicator(const MpiSession& session, Communicator& group,
                                                     Stream& stream, const NcclOptions& options) {
    return std::make_unique<NcclCommunicator>(session, group.duplicate(), stream, options);
}

}  // namespace skein
