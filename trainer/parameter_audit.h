#pragma once

#include <string>

#include "model/tensor/communicator.h"
#include "trainer/parameter_digest.h"

namespace skein {

/// Compares what the ranks of a data-parallel group have of the parameters, which is to be the same on all:
/// empty where it is. Otherwise a line that names those that differ from more than half of the ranks, or all
/// that differ from one another where so many do not agree, and the first parameter, in the order of the
/// model, in which they do. `me` is what the line calls this rank: "rank 3 on node7". The same on every rank
/// of the group; collective over it. Throws MpiError.
std::string difference_of_replicas(const ParameterList& parameters, const ParameterDigests& of_parts,
                                   Communicator& group, const std::string& me);

}  // namespace skein
