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
/// For Stream::run.
inline Work sum_along_tree_work(std::span<float* const> operands, std::int64_t count) {
    const auto parts = static_cast<double>(operands.size()), each = static_cast<double>(count);
    return {"sum over ranks", 4.0 * (parts + 1.0) * each, (parts - 1.0) * each};
}

}  // namespace skein
