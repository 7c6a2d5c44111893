#include "model/kernels/sum_parts.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"

namespace skein::kernels {
namespace cuda {

inline constexpr int kSumPartsThreads = 256;

/// A thread an eight.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kSumPartsThreads) sum_parts_kernel(SumPartsArgs args) {
    const std::int64_t i = (block_index() * kSumPartsThreads + thread_index()) * 8, left = args.count - i;
    if (left <= 0) return;
    const auto part = [&](int p) {
        return p == args.own ? static_cast<const T*>(args.own_part.data)
                             : static_cast<const T*>(args.others.data) + p * args.stride;
    };
    Eight total = load_eight<kWhole>(part(0) + i, left);
    for (int p = 1; p < args.parts; ++p) add_to(total, load_eight<kWhole>(part(p) + i, left));
    store_eight<kWhole>(static_cast<T*>(args.y.data) + i, total, left);
}

}  // namespace cuda

void sum_parts(CudaStream& stream, const SumPartsArgs& args) {
    using namespace cuda;
    if (args.count == 0) return;
    const bool whole = args.count % 8 == 0 &&
                       rows_are_aligned(args.stride, args.others.data, args.own_part.data, args.y.data);
    for_element_type(args.y.dtype, [&]<class T>() {
        for_whole_eights(whole, [&](auto is_whole) {
            launch<sum_parts_kernel<T, decltype(is_whole)::value>>(
                {divide_up(args.count, 8 * kSumPartsThreads), 1}, kSumPartsThreads, stream, args);
        });
    });
}

}  // namespace skein::kernels
