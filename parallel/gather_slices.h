#pragma once

#include <cstdint>
#include <span>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"

namespace skein {

/// Every rank gets all of `all`, on the stream's device, of which rank r has elements [begins[r],
/// begins[r + 1]), for what is queued on the stream from now on. Collective over `host`, which moves the
/// host's memory, and over `device`, of the same ranks, which moves that of the stream's GPU; without one the
/// host carries the slices and waits for them. Gives an operation for the host to ask whether it is over.
/// Throws MpiError, CudaError.
Pending gather_slices(Stream& stream, Communicator& host, Communicator* device, const Tensor& all,
                      std::span<const std::int64_t> begins);

}  // namespace skein
