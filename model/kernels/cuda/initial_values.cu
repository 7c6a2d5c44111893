#include "model/kernels/initial_values.h"

#include <cmath>

#include "model/base/normal.h"
#include "model/kernels/cuda/eight.cuh"

namespace skein::kernels {
namespace cuda {

__global__ void __launch_bounds__(kEightThreads) initial_values_kernel(InitialValuesArgs args) {
    const std::int64_t i = block_index() * kEightThreads + thread_index();
    if (i >= args.count) return;
    double value = args.kind == InitialKind::kOnes ? 1.0 : 0.0;
    if (args.kind == InitialKind::kNormal) {
        const NormalParts parts = normal_parts_at(args.key, args.first + i);
        value = args.scale * (sqrt(parts.radius_square) * parts.direction);
    } else if (args.kind == InitialKind::kUniform) {
        value = args.scale * (2.0 * uniform_at(args.key, args.first + i) - 1.0);
    }
    args.values[i] = static_cast<float>(value);
}

}  // namespace cuda

void fill_initial_values(CudaStream& stream, const InitialValuesArgs& args) {
    using namespace cuda;
    launch<initial_values_kernel>({divide_up(args.count, kEightThreads), 1}, kEightThreads, stream, args);
}

}  // namespace skein::kernels
