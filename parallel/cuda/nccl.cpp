#include "parallel/nccl.h"

#include <dlfcn.h>
#include <nccl.h>

#include <algorithm>
#include <cstring>

#include "model/base/error.h"

static_assert(NCCL_VERSION_CODE >= skein::nccl::kLeastVersion);
static_assert(sizeof(ncclUniqueId) == sizeof(skein::nccl::Id));

namespace skein::nccl {
namespace {

// The library is loaded when it is asked for: a program that was built with NCCL runs where it is missing.
struct Library {
    std::string missing;
    int version = 0;
    decltype(&ncclGetVersion) get_version = nullptr;
    decltype(&ncclGetErrorString) error_string = nullptr;
    decltype(&ncclGetLastError) last_error = nullptr;
    decltype(&ncclGetUniqueId) get_unique_id = nullptr;
    decltype(&ncclCommInitRankConfig) init_rank = nullptr;
    decltype(&ncclCommGetAsyncError) async_error = nullptr;
    decltype(&ncclCommFinalize) finalize = nullptr;
    decltype(&ncclCommDestroy) destroy = nullptr;
    decltype(&ncclCommAbort) abort = nullptr;
    decltype(&ncclGroupStart) group_start = nullptr;
    decltype(&ncclGroupEnd) group_end = nullptr;
    decltype(&ncclSend) send = nullptr;
    decltype(&ncclRecv) receive = nullptr;
    decltype(&ncclAllReduce) all_reduce = nullptr;

    Library() {
        void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
        if (!handle) handle = dlopen(SKEIN_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);  // where CMake found it
        if (!handle) {
            missing = "libnccl.so.2 was not found";
            return;
        }
        const auto load = [&](const char* name, auto& function) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
            if (!function && missing.empty()) missing = text("libnccl.so.2 has no ", name);
        };
        load("ncclGetVersion", get_version);
        load("ncclGetErrorString", error_string);
        load("ncclGetLastError", last_error);
        load("ncclGetUniqueId", get_unique_id);
        load("ncclCommInitRankConfig", init_rank);
        load("ncclCommGetAsyncError", async_error);
        load("ncclCommFinalize", finalize);
        load("ncclCommDestroy", destroy);
        load("ncclCommAbort", abort);
        load("ncclGroupStart", group_start);
        load("ncclGroupEnd", group_end);
        load("ncclSend", send);
        load("ncclRecv", receive);
        load("ncclAllReduce", all_reduce);
        if (get_version) get_version(&version);
        if (missing.empty() && (version < kLeastVersion || version / 10000 != NCCL_MAJOR))
            missing = text("NCCL is ", version_text(version), ", wanted ", version_text(kLeastVersion),
                           " or later of ", NCCL_MAJOR);
    }
};

const Library& library() {
    static const Library one;
    return one;
}

const Library& present() {
    if (!library().missing.empty()) throw CudaError("NCCL: " + library().missing);
    return library();
}

ncclComm_t of(void* communicator) {
    return static_cast<ncclComm_t>(communicator);
}

// A call of a communicator that does not block may still be under way.
void check(ncclResult_t result, const char* what, ncclComm_t communicator) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    std::string words = text("NCCL: ", what, ": ", library().error_string(result));
    if (const char* more = library().last_error(communicator); more && *more) words += text(" (", more, ")");
    std::replace(words.begin(), words.end(), '\n', ' ');
    throw CudaError(words);
}

}  // namespace

Report find() {
    return {library().version, library().missing};
}

std::string place_of(int device) {
    char place[32] = "";
    if (const cudaError_t status = cudaDeviceGetPCIBusId(place, sizeof(place), device); status != cudaSuccess)
        throw CudaError(text("CUDA: place of GPU ", device, ": ", cudaGetErrorString(status)));
    return place;
}

Id make_id() {
    ncclUniqueId id;
    check(present().get_unique_id(&id), "making an identifier", nullptr);
    Id bytes;
    std::memcpy(bytes.data(), &id, sizeof(id));
    return bytes;
}

void* start(const Id& id, int ranks, int rank) {
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), sizeof(unique));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t communicator = nullptr;
    check(present().init_rank(&communicator, ranks, unique, rank, &config), "making a communicator", nullptr);
    return communicator;
}

bool is_settled(void* communicator) {
    ncclResult_t state = ncclSuccess;
    check(library().async_error(of(communicator), &state), "state", of(communicator));
    check(state, "communicator", of(communicator));
    return state != ncclInProgress;
}

void finalize(void* communicator) {
    check(library().finalize(of(communicator)), "ending a communicator", of(communicator));
}
void destroy(void* communicator) noexcept {
    library().destroy(of(communicator));
}
void abort(void* communicator) noexcept {
    library().abort(of(communicator));
}

void exchange(void* communicator, std::span<const Outgoing> send, std::span<const Incoming> receive,
              void* stream) {
    const Library& nccl = library();
    const ncclComm_t comm = of(communicator);
    const auto on = static_cast<cudaStream_t>(stream);
    check(nccl.group_start(), "exchange", comm);
    ncclResult_t result = ncclSuccess;
    const auto add = [&](ncclResult_t one) {
        if (result == ncclSuccess && one != ncclInProgress) result = one;
    };
    for (const Outgoing& message : send)
        if (!message.bytes.empty())
            add(nccl.send(message.bytes.data(), message.bytes.size(), ncclUint8, message.peer, comm, on));
    for (const Incoming& message : receive)
        if (!message.bytes.empty())
            add(nccl.receive(message.bytes.data(), message.bytes.size(), ncclUint8, message.peer, comm, on));
    const ncclResult_t end = nccl.group_end();  // also after an error, or the next group is part of this one
    check(result, "exchange", comm);
    check(end, "exchange", comm);
}

void all_reduce(void* communicator, float* values, std::size_t count, void* stream) {
    if (count == 0) return;
    check(library().all_reduce(values, values, count, ncclFloat32, ncclSum, of(communicator),
                               static_cast<cudaStream_t>(stream)),
          "all-reduce", of(communicator));
}

}  // namespace skein::nccl
