#pragma once

#include <memory>
#include <string>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "parallel/mpi_session.h"

namespace skein {

/// What can be said of NCCL in this build and on this machine.
struct NcclReport {
    std::string version;  ///< "2.28.9"; empty where there is none
    std::string missing;  ///< empty, or why it cannot be used: "libnccl.so.2 was not found"
};
/// Throws nothing.
NcclReport find_nccl();
/// The GPU's place in its machine, by which NCCL tells GPUs apart (its PCI bus number); empty where there is
/// no NCCL. Throws CudaError.
std::string place_of(Gpu gpu);

struct NcclOptions {
    /// How long an operation may take, counted from when it was started and the one before it was over.
    double timeout_seconds = 600.0;
    /// How long a rank may take to tell how far it has come, when another has been waited for in vain.
    double patience_seconds = 5.0;
};

/// A communicator of the ranks of `group`, one GPU each, that moves the memory of the stream's GPU by NCCL
/// (see Communicator; `stream` is the user's). Its operations are numbered, the same on every rank: the
/// connection is the first, and each rank publishes the last one that it has started.
///
/// A Pending's poll asks an event without blocking; its wait makes the user's stream wait. Both, and the
/// start of the next operation, throw CudaError for what failed on any rank, and for an operation that is not
/// over in time with a line that names the ranks which have not come to it; in either case everything of the
/// communicator's that is under way is aborted, so that no stream waits for it, and the memory that it was to
/// write is undefined. The start of an operation returns when NCCL has queued it: from NCCL 2.26 on a thread
/// of NCCL's does that, which takes some tens of microseconds, and seconds when ranks first meet.
///
/// Collective over all ranks of the session, each with its own group, and so is a duplicate. Session, group
/// and stream must outlive it. Throws CudaError (no NCCL, or what it refuses) and MpiError.
std::unique_ptr<Communicator> make_nccl_communicator(const MpiSession& session, Communicator& group,
                                                     Stream& stream, const NcclOptions& options);

}  // namespace skein
