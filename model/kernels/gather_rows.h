#pragma once

#include <cstddef>
#include <cstdint>

#include "model/tensor/stream.h"

namespace skein::kernels {

/// The first `bytes` bytes of row which[i] of `from` become those of row i of `to`, for i in [0, rows). Rows
/// are their stride of bytes apart; from and to do not overlap.
struct GatherRowsArgs {
    const void* from = nullptr;
    std::size_t from_stride = 0;
    const std::int32_t* which = nullptr;
    void* to = nullptr;
    std::size_t to_stride = 0;
    std::size_t bytes = 0;
    std::int64_t rows = 0;
};
void gather_rows(CpuStream& stream, const GatherRowsArgs& args);
void gather_rows(CudaStream& stream, const GatherRowsArgs& args);

}  // namespace skein::kernels
