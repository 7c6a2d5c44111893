#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/nn/parameter.h"
#include "model/tensor/communicator.h"
#include "trainer/optimizer.h"

namespace skein {

/// Something that all ranks of a data-parallel group have, and of which a checkpoint takes any one's.
struct ReplicatedTensor {
    std::string name;  ///< as in a checkpoint: "moment1/decoder.0.norm.weight"
    Tensor value;
};

/// The parameters, f32 and in 16 bits where there are such, and the moments: all of them in the order of the
/// model. What each rank has a share of (`sharded`) is none.
std::vector<ReplicatedTensor> replicated_state(const ParameterList& parameters, const Optimizer& optimizer,
                                               bool sharded);

/// Compares what the ranks of a data-parallel group have of it, which is to be the same on all: empty where
/// it is. Otherwise a line that names those that differ from more than half of the ranks, or all that differ
/// from one another where so many do not agree, and the first tensor in which they do. `me` is what the line
/// calls this rank: "rank 3 on node7". The same on every rank of the group; collective over it. Throws
/// MpiError.
std::string difference_of_replicas(Stream& stream, std::span<const ReplicatedTensor> state,
                                   Communicator& group, const std::string& me);

}  // namespace skein
