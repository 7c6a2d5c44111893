#include "model/kernels/gather_rows.h"

#include "model/kernels/cuda/eight.cuh"

namespace skein::kernels {
namespace cuda {

inline constexpr int kGatherThreads = 256;

/// A thread for each piece of each row, of 16 bytes or of one.
__global__ void __launch_bounds__(kGatherThreads)
    gather_rows_kernel(GatherRowsArgs args, std::int64_t pieces, bool aligned) {
    const std::int64_t index = block_index() * kGatherThreads + thread_index();
    const std::int64_t row = index / pieces;
    if (row >= args.rows) return;
    const std::size_t at = static_cast<std::size_t>(index % pieces) * (aligned ? 16 : 1);
    const auto* from = static_cast<const std::uint8_t*>(args.from) +
                       static_cast<std::size_t>(args.which[row]) * args.from_stride + at;
    auto* to = static_cast<std::uint8_t*>(args.to) + static_cast<std::size_t>(row) * args.to_stride + at;
    if (aligned) {
        store_sixteen(to, load_sixteen(from));
    } else {
        *to = *from;
    }
}

}  // namespace cuda

void gather_rows(CudaStream& stream, const GatherRowsArgs& args) {
    using namespace cuda;
    if (args.bytes == 0) return;
    const bool aligned = args.bytes % 16 == 0 && args.from_stride % 16 == 0 && args.to_stride % 16 == 0 &&
                         rows_are_aligned(8, args.from, args.to);
    const auto pieces = static_cast<std::int64_t>(aligned ? args.bytes / 16 : args.bytes);
    launch<gather_rows_kernel>({divide_up(args.rows * pieces, kGatherThreads), 1}, kGatherThreads, stream,
                               args, pieces, aligned);
}

}  // namespace skein::kernels
