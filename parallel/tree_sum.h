#pragma once

#include <cstdint>
#include <span>

#include "model/tensor/stream.h"
#include "parallel/lanes.h"

namespace skein {

/// Adds up `operands`, `count` floats each on the stream's device, along the tree: each merge adds its right
/// operand to its left one in place, and the last, of which there is at least one, writes to `result`
/// instead, which may be any of them. The same bits on every device.
void sum_along_tree(CpuStream& stream, std::span<const Merge> merges, std::span<float* const> operands,
                    float* result, std::int64_t count);
void sum_along_tree(CudaStream& stream, std::span<const Merge> merges, std::span<float* const> operands,
                    float* result, std::int64_t count);

}  // namespace skein
