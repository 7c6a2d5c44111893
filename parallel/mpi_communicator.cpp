#include "parallel/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/base/handle.h"
#include "parallel/mpi_check.h"

namespace skein {
namespace {

struct CommunicatorTraits {
    using Value = MPI_Comm;
    static Value none() noexcept { return MPI_COMM_NULL; }
    static void release(Value value) noexcept {
        int over = 0;
        MPI_Finalized(&over);
        // Freeing is a collective. Ranks that an error drives out do not wait for the others.
        if (!over && std::uncaught_exceptions() == 0) MPI_Comm_free(&value);
    }
};
using CommunicatorHandle = Handle<CommunicatorTraits>;

CommunicatorHandle duplicate_of(MPI_Comm original) {
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(original, &copy), "communicator");
    return CommunicatorHandle(copy);
}

// The requests of one call.
class MpiOperation final : public Pending::Operation {
  public:
    explicit MpiOperation(const char* name) : name_(name) {}

    ~MpiOperation() override {
        int over = 0;
        MPI_Finalized(&over);
        if (over) return;
        for (std::size_t i = 0; i < requests_.size(); ++i) {
            if (requests_[i] == MPI_REQUEST_NULL) continue;
            if (parts_[i].receive) MPI_Cancel(&requests_[i]);
            MPI_Request_free(&requests_[i]);
        }
    }

    // The request that the caller is about to start. peer < 0: all.
    MPI_Request* add(int peer, bool receive, int bytes) {
        parts_.push_back({peer, bytes, receive});
        requests_.push_back(MPI_REQUEST_NULL);
        return &requests_.back();
    }

    bool poll() override {
        if (requests_.empty()) return true;
        statuses_.resize(requests_.size());
        int done = 0;
        const int code =
            MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
        if (code == MPI_ERR_IN_STATUS)
            for (std::size_t i = 0; i < parts_.size(); ++i)
                if (const int error = statuses_[i].MPI_ERROR; error != MPI_ERR_PENDING)
                    check_mpi(error, name_, parts_[i].peer);
        check_mpi(code, name_);
        if (done) check_lengths();
        return done != 0;
    }

  private:
    struct Part {
        int peer, bytes;
        bool receive;
    };

    void check_lengths() const {
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            if (!parts_[i].receive) continue;
            int bytes = 0;
            check_mpi(MPI_Get_count(&statuses_[i], MPI_BYTE, &bytes), name_, parts_[i].peer);
            if (bytes != parts_[i].bytes)
                throw MpiError(text(name_, ": rank ", parts_[i].peer, " sent ", bytes, " bytes, wanted ",
                                    parts_[i].bytes));
        }
    }

    const char* name_;
    std::vector<MPI_Request> requests_;
    std::vector<Part> parts_;
    std::vector<MPI_Status> statuses_;
};

}  // namespace

struct MpiCommunicator::State {
    CommunicatorHandle handle;
    int rank = 0, size = 1;
    std::size_t max_message_bytes;
    std::uint32_t largest_tag = 32767;
    std::uint64_t calls = 0;

    State(CommunicatorHandle communicator, std::size_t max_message)
        : handle(std::move(communicator)), max_message_bytes(max_message) {
        check_mpi(MPI_Comm_set_errhandler(handle.get(), MPI_ERRORS_RETURN), "communicator");
        check_mpi(MPI_Comm_rank(handle.get(), &rank), "communicator");
        check_mpi(MPI_Comm_size(handle.get(), &size), "communicator");
        int* bound = nullptr;
        int found = 0;
        check_mpi(MPI_Comm_get_attr(handle.get(), MPI_TAG_UB, static_cast<void*>(&bound), &found),
                  "communicator");
        if (found) largest_tag = static_cast<std::uint32_t>(*bound);
    }

    int next_tag() { return static_cast<int>(calls++ % (std::uint64_t{largest_tag} + 1)); }

    // part(offset, bytes) for each piece of a message.
    template <class Part>
    void in_parts(std::size_t length, const Part& part) const {
        for (std::size_t at = 0; at < length; at += max_message_bytes)
            part(at, static_cast<int>(std::min(max_message_bytes, length - at)));
    }

    void check_peer(int peer) const {
        if (peer < 0 || peer >= size || peer == rank)
            throw MpiError(
                text("exchange: a message between rank ", rank, " and rank ", peer, " in a group of ", size));
    }
};

MpiCommunicator::MpiCommunicator(const MpiSession&, std::size_t max_message_bytes)
    : state_(std::make_unique<State>(duplicate_of(MPI_COMM_WORLD),
                                     std::clamp<std::size_t>(max_message_bytes, 1, kMaxMessageBytes))) {}

MpiCommunicator::MpiCommunicator(std::unique_ptr<State> state) : state_(std::move(state)) {}
MpiCommunicator::~MpiCommunicator() = default;

int MpiCommunicator::rank() const {
    return state_->rank;
}
int MpiCommunicator::size() const {
    return state_->size;
}

Pending MpiCommunicator::start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) {
    const int tag = state_->next_tag();
    const MPI_Comm comm = state_->handle.get();
    auto operation = std::make_unique<MpiOperation>("exchange");
    for (const Incoming& message : receive) {
        state_->check_peer(message.peer);
        state_->in_parts(message.bytes.size(), [&](std::size_t at, int bytes) {
            check_mpi(MPI_Irecv(message.bytes.data() + at, bytes, MPI_BYTE, message.peer, tag, comm,
                                operation->add(message.peer, true, bytes)),
                      "receive", message.peer);
        });
    }
    for (const Outgoing& message : send) {
        state_->check_peer(message.peer);
        state_->in_parts(message.bytes.size(), [&](std::size_t at, int bytes) {
            check_mpi(MPI_Isend(message.bytes.data() + at, bytes, MPI_BYTE, message.peer, tag, comm,
                                operation->add(message.peer, false, bytes)),
                      "send", message.peer);
        });
    }
    return Pending(std::move(operation));
}

Pending MpiCommunicator::start_fast_all_reduce(std::span<float> values) {
    auto operation = std::make_unique<MpiOperation>("all-reduce");
    constexpr std::size_t kMost = std::size_t{1} << 30;
    for (std::size_t at = 0; at < values.size(); at += kMost) {
        const int count = static_cast<int>(std::min(kMost, values.size() - at));
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.data() + at, count, MPI_FLOAT, MPI_SUM,
                                 state_->handle.get(), operation->add(-1, false, 0)),
                  "all-reduce");
    }
    return Pending(std::move(operation));
}

std::unique_ptr<Communicator> MpiCommunicator::duplicate() {
    auto copy = std::make_unique<State>(duplicate_of(state_->handle.get()), state_->max_message_bytes);
    return std::unique_ptr<Communicator>(new MpiCommunicator(std::move(copy)));
}

std::unique_ptr<MpiCommunicator> MpiCommunicator::split(int color, int key) {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(state_->handle.get(), color, key, &part), "communicator split");
    auto state = std::make_unique<State>(CommunicatorHandle(part), state_->max_message_bytes);
    return std::unique_ptr<MpiCommunicator>(new MpiCommunicator(std::move(state)));
}

}  // namespace skein
