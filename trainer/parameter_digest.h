#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/nn/parameter.h"

namespace skein {

class Communicator;

/// A hash of each parameter's values (model/kernels/digest.h), in the order of the model: the same under
/// every layout, on any number of ranks and threads. Of the values that forward reads: in 16-bit precision
/// the matrices' copies.
using ParameterDigests = std::vector<std::uint64_t>;

/// Of this rank's part of each. Waits for all that was queued on the stream.
ParameterDigests digests_of_parts(Stream& stream, const ParameterList& parameters);

/// Of the elements of any tensors, each by their own places. Waits likewise.
ParameterDigests digests_of_tensors(Stream& stream, std::span<const Tensor> tensors);

/// Of the whole parameters: the sums of what the ranks of a tensor-parallel group have; null: this rank has
/// them whole. Collective over the group, which moves the host's memory.
ParameterDigests digests_of_wholes(const ParameterList& parameters, ParameterDigests of_parts,
                                   Communicator* tensor);

/// By rank, of as many on each. Collective over the group, which moves the host's memory.
std::vector<ParameterDigests> gather_digests(Communicator& group, const ParameterDigests& mine);

/// 16 lower-case hexadecimal digits.
std::string digest_text(std::uint64_t digest);

/// One for all: hash_hex of a line "NAME \t DIGEST \n" (no spaces) for each parameter, in bytewise order of
/// names. A function of names and values alone.
std::string digest_of_all(const ParameterList& parameters, const ParameterDigests& digests);

}  // namespace skein
