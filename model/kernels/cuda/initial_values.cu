#include "model/kernels/cuda/initial_values.h"

#include <cmath>

#include "model/base/normal.h"
#include "model/kernels/cuda/eight.cuh"

namespace skein::kernels::cuda {

template <class T>
__global__ void __launch_bounds__(kEightThreads)
    initial_values_kernel(InitialKind kind, double scale, PhiloxKey key, std::int64_t first,
                          std::int64_t count, T* values) {
    const std::int64_t i = block_index() * kEightThreads + thread_index();
    if (i >= count) return;
    double value = scale;
    if (kind == InitialKind::kNormal) {
        const NormalParts parts = normal_parts_at(key, first + i);
        value = scale * (sqrt(parts.radius_square) * parts.direction);
    } else if (kind == InitialKind::kUniform) {
        value = scale * (2.0 * uniform_at(key, first + i) - 1.0);
    }
    values[i] = narrow<T>(static_cast<float>(value));
}

template <class T>
void fill_initial_values(CudaStream& stream, InitialKind kind, double scale, PhiloxKey key,
                         std::int64_t first, std::int64_t count, T* values) {
    launch<initial_values_kernel<T>>({divide_up(count, kEightThreads), 1}, kEightThreads, stream, kind, scale,
                                     key, first, count, values);
}

template void fill_initial_values(CudaStream&, InitialKind, double, PhiloxKey, std::int64_t, std::int64_t,
                                  float*);
template void fill_initial_values(CudaStream&, InitialKind, double, PhiloxKey, std::int64_t, std::int64_t,
                                  Bf16*);
template void fill_initial_values(CudaStream&, InitialKind, double, PhiloxKey, std::int64_t, std::int64_t,
                                  F16*);

}  // namespace skein::kernels::cuda
