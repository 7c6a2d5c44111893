// parallel/nccl.h without a GPU: what is queued on the fake GPU's streams travels between processes by MPI.
// As with NCCL's communicators that do not block, an operation is on its stream only when is_settled has said
// so, and it is done when every rank that it needs has come to it. The host's memory is refused.
// SKEIN_SHIM_NO_NCCL in the environment takes the library away; SKEIN_SHIM_NCCL_ERROR is what communicators
// fail with from then on.
#include <mpi.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "model/tensor/cuda/runtime.h"
#include "parallel/nccl.h"
#include "tests/support/cuda_runtime_shim.h"

namespace skein::test::shim {
namespace {

constexpr int kFirstTag = 20000;  // of messages between those that become a communicator

struct FakeCommunicator {
    MPI_Comm ranks = MPI_COMM_NULL;
    int calls = 0;
    bool aborted = false;
    std::function<void()> unqueued;  // NCCL's thread would queue it
    void* stream = nullptr;          // of the last operation
    void* end = nullptr;             // an event behind all of them, once finalized
};
using Shared = std::shared_ptr<FakeCommunicator>;

Shared& of(void* communicator) {
    return *static_cast<Shared*>(communicator);
}

// One operation on its way: the device's bytes in memory that MPI may touch at any time.
struct Transfer {
    struct Copy {
        std::byte* device;
        std::vector<std::byte> host;
    };
    std::vector<std::vector<std::byte>> sent;
    std::vector<Copy> received;
    std::vector<MPI_Request> requests;
    bool started = false;

    bool over() {
        int done = 0;
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
        if (done)
            for (const Copy& copy : received)
                if (!copy.host.empty()) std::memcpy(copy.device, copy.host.data(), copy.host.size());
        return done != 0;
    }
};

void check_on_device(const void* memory) {
    if (!is_on_device(memory)) throw CudaError("NCCL: invalid argument: not the GPU's memory");
}

// `begin` starts MPI's requests when the stream's turn comes.
void queue(void* communicator, void* stream, std::function<void(Transfer&)> begin) {
    const Shared shared = of(communicator);
    shared->stream = stream;
    shared->unqueued = [shared, stream, begin = std::move(begin)] {
        queue_until(stream, [shared, begin, transfer = std::make_shared<Transfer>()] {
            if (shared->aborted) return true;
            if (!transfer->started) begin(*transfer);
            transfer->started = true;
            return transfer->over();
        });
    };
}

}  // namespace

}  // namespace skein::test::shim

namespace skein::nccl {

using namespace test::shim;

Report find() {
    if (std::getenv("SKEIN_SHIM_NO_NCCL")) return {0, "libnccl.so.2 was not found"};
    return {22809, ""};
}

std::string place_of(int device) {
    return text("0000:0", device, ":00.0");
}

Id make_id() {
    static int made = 0;
    Id id{};
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const int words[2] = {rank, kFirstTag + made++};
    std::memcpy(id.data(), words, sizeof(words));
    return id;
}

void* start(const Id& id, int ranks, int rank) {
    int words[2] = {};
    std::memcpy(words, id.data(), sizeof(words));
    const auto [root, tag] = words;
    int own = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    std::vector<int> members(static_cast<std::size_t>(ranks));
    const int mine[2] = {rank, own};
    if (own != root) {
        MPI_Send(mine, 2, MPI_INT, root, tag, MPI_COMM_WORLD);
        MPI_Recv(members.data(), ranks, MPI_INT, root, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else {
        members[static_cast<std::size_t>(rank)] = own;
        for (int i = 1; i < ranks; ++i) {
            int theirs[2] = {};
            MPI_Recv(theirs, 2, MPI_INT, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            members[static_cast<std::size_t>(theirs[0])] = theirs[1];
        }
        for (const int member : members)
            if (member != own) MPI_Send(members.data(), ranks, MPI_INT, member, tag, MPI_COMM_WORLD);
    }
    MPI_Group world = MPI_GROUP_NULL, part = MPI_GROUP_NULL;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, ranks, members.data(), &part);
    const auto made = std::make_shared<FakeCommunicator>();
    MPI_Comm_create_group(MPI_COMM_WORLD, part, tag, &made->ranks);
    MPI_Group_free(&part);
    MPI_Group_free(&world);
    return new Shared(made);
}

bool is_settled(void* communicator) {
    if (const char* error = std::getenv("SKEIN_SHIM_NCCL_ERROR"))
        throw CudaError(text("NCCL: communicator: ", error));
    FakeCommunicator& fake = *of(communicator);
    if (fake.unqueued) {
        std::exchange(fake.unqueued, nullptr)();
        return false;
    }
    return !fake.end || cuda::is_done(fake.end);
}

void finalize(void* communicator) {
    FakeCommunicator& fake = *of(communicator);
    if (!fake.stream) return;
    fake.end = cuda::make_event();
    cuda::record(fake.end, fake.stream);
}
void destroy(void* communicator) noexcept {
    FakeCommunicator& fake = *of(communicator);
    if (fake.end) cuda::destroy_event(fake.end);
    MPI_Comm_free(&fake.ranks);
    delete &of(communicator);
}
void abort(void* communicator) noexcept {
    of(communicator)->aborted = true;
    delete &of(communicator);
}

void exchange(void* communicator, std::span<const Outgoing> send, std::span<const Incoming> receive,
              void* stream) {
    for (const Outgoing& message : send) check_on_device(message.bytes.data());
    for (const Incoming& message : receive) check_on_device(message.bytes.data());
    const MPI_Comm ranks = of(communicator)->ranks;
    const int tag = ++of(communicator)->calls;
    queue(communicator, stream,
          [ranks, tag, send = std::vector(send.begin(), send.end()),
           receive = std::vector(receive.begin(), receive.end())](Transfer& transfer) {
              for (const Incoming& message : receive) {
                  transfer.received.push_back(
                      {message.bytes.data(), std::vector<std::byte>(message.bytes.size())});
                  auto& copy = transfer.received.back();
                  MPI_Irecv(copy.host.data(), static_cast<int>(copy.host.size()), MPI_BYTE, message.peer, tag,
                            ranks, &transfer.requests.emplace_back(MPI_REQUEST_NULL));
              }
              for (const Outgoing& message : send) {
                  auto& copy = transfer.sent.emplace_back(message.bytes.begin(), message.bytes.end());
                  MPI_Isend(copy.data(), static_cast<int>(copy.size()), MPI_BYTE, message.peer, tag, ranks,
                            &transfer.requests.emplace_back(MPI_REQUEST_NULL));
              }
          });
}

void all_reduce(void* communicator, float* values, std::size_t count, void* stream) {
    check_on_device(values);
    const MPI_Comm ranks = of(communicator)->ranks;
    queue(communicator, stream, [=](Transfer& transfer) {
        auto* bytes = reinterpret_cast<std::byte*>(values);
        transfer.received.push_back({bytes, {bytes, bytes + count * sizeof(float)}});
        auto& copy = transfer.received.back();
        MPI_Iallreduce(MPI_IN_PLACE, copy.host.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM, ranks,
                       &transfer.requests.emplace_back(MPI_REQUEST_NULL));
    });
}

}  // namespace skein::nccl
