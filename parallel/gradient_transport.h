#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "model/tensor/communicator.h"
#include "model/tensor/device.h"
#include "model/tensor/stream.h"
#include "parallel/mpi_session.h"

namespace skein {

/// How gradients get from rank to rank.
enum class GradientTransport {
    kMpi,   ///< the host's memory, through MPI; from a GPU by way of pinned memory
    kNccl,  ///< from GPU to GPU
};
/// What --parallel.transport says.
enum class TransportChoice { kAuto, kMpi, kNccl };

/// What a rank knows of its GPU.
struct RankGpu {
    bool on_gpu = false;
    std::string node, place;   ///< which GPU it is: the host's name, and its place there
    std::string host_id;       ///< NCCL_HOSTID
    std::string nccl_missing;  ///< see NcclReport
};

/// What the choice depends on, the same on all ranks.
struct TransportFacts {
    int ranks = 1;
    bool on_gpus = false;           ///< every rank
    std::string nccl_missing;       ///< of the first rank that lacks it, naming the rank
    std::string shared;             ///< empty, or two ranks with one GPU: "ranks 0 and 1"
    bool host_ids_distinct = true;  ///< ranks with one GPU have each an NCCL_HOSTID of its own
};
TransportFacts facts_of(std::span<const RankGpu> ranks);

struct TransportDecision {
    GradientTransport transport = GradientTransport::kMpi;
    std::string line;  ///< what is to be said once; may be empty
};
/// NCCL where it was asked for or can be had. Throws ConfigError or CudaError where it was asked for and
/// cannot be had.
TransportDecision decide_transport(TransportChoice choice, const TransportFacts& facts);

/// Makes, of a group of ranks, one that moves the memory of the stream's GPU. Collective over the group.
using DeviceGroup = std::function<std::unique_ptr<Communicator>(Stream&, Communicator& group)>;

/// Asks all ranks. `gpu`: this rank's; none on the CPU. Collective over `world`; throws MpiError.
TransportFacts gather_transport_facts(const MpiSession& session, Communicator& world,
                                      const std::optional<Gpu>& gpu);

}  // namespace skein
