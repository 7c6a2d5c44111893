#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "model/base/error.h"
#include "model/tensor/communicator.h"

/// What skein asks of NCCL, each call about one of NCCL's: the tests put a fake below it that moves the
/// memory of a fake GPU over MPI. Communicators are NCCL's handles without their type; they do not block: a
/// call may be under way when it returns, and is over when is_settled says so. Addresses are of a GPU's
/// memory. All throw CudaError with NCCL's own words.
namespace skein::nccl {

/// The least version that will do, as NCCL counts them: 10,000 · major + 100 · minor + patch.
inline constexpr int kLeastVersion = 21800;

/// What there is of NCCL in this process. Throws nothing: what is wrong stands in `missing`.
struct Report {
    int version = 0;      ///< 0: none
    std::string missing;  ///< empty where all is well
};
Report find();
/// "2.28.9".
inline std::string version_text(int version) {
    return text(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

/// The GPU's place in this machine, as NCCL tells GPUs apart: its PCI bus number.
std::string place_of(int device);

/// What the ranks of a group know each other by; one rank makes it and gives it to the others.
using Id = std::array<char, 128>;
Id make_id();

/// Starts to make a communicator on this thread's GPU. Collective.
void* start(const Id& id, int ranks, int rank);
/// Whether nothing is under way on the host any more; what was called before is on its stream by then. Throws
/// what failed since, also on another rank or on the way to it.
bool is_settled(void* communicator);
/// Starts to end it: what is on its stream will still be done. Collective.
void finalize(void* communicator);
/// Frees a communicator that is finalized and settled.
void destroy(void* communicator) noexcept;
/// Ends it now: what is under way stops, and is not done.
void abort(void* communicator) noexcept;

/// Queues all messages on the stream, as one operation. Peers are ranks of the communicator.
void exchange(void* communicator, std::span<const Outgoing> send, std::span<const Incoming> receive,
              void* stream);
/// Queues the sum over all ranks of `count` floats, in place.
void all_reduce(void* communicator, float* values, std::size_t count, void* stream);

}  // namespace skein::nccl
