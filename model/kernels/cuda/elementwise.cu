#include "model/kernels/cuda/elementwise.h"

#include "model/kernels/cuda/eight.cuh"

namespace skein::kernels::cuda {

template <class From, class To>
__global__ void __launch_bounds__(kEightThreads)
    copy_or_add_kernel(const From* source, To* target, std::int64_t count, bool accumulate, bool aligned) {
    const std::int64_t begin = (block_index() * kEightThreads + thread_index()) * 8, left = count - begin;
    if (left <= 0) return;
    Eight value = load_eight(source + begin, left, aligned);
    if (accumulate) {
        const Eight old = load_eight(target + begin, left, aligned);
        for (int i = 0; i < 8; ++i) value.v[i] = old.v[i] + value.v[i];
    }
    store_eight(target + begin, value, left, aligned);
}

template <class From, class To>
void copy_or_add(CudaStream& stream, const From* source, To* target, std::int64_t count, bool accumulate) {
    launch<copy_or_add_kernel<From, To>>(grid_of_eights(1, count), kEightThreads, stream, source, target,
                                         count, accumulate, rows_are_aligned(8, source, target));
}

template <class T>
__global__ void __launch_bounds__(kEightThreads)
    apply_dropout_kernel(Dropout dropout, RowPlace place, std::int64_t rows, std::int64_t width, const T* x,
                         T* y, bool accumulate, bool aligned) {
    const auto [r, c] = my_eight(width);
    if (r >= rows) return;
    const Eight mask = mask_of(dropout, place, r, c);
    Eight value = load_eight(x + r * width + c, width - c, aligned);
    for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    if (accumulate) add_to(value, load_eight(y + r * width + c, width - c, aligned));
    store_eight(y + r * width + c, value, width - c, aligned);
}

template <class T>
void apply_dropout(CudaStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, const T* x, T* y, bool accumulate) {
    launch<apply_dropout_kernel<T>>(grid_of_eights(rows, width), kEightThreads, stream, dropout, place, rows,
                                    width, x, y, accumulate, rows_are_aligned(width, x, y));
}

template void copy_or_add(CudaStream&, const float*, float*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const float*, Bf16*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const float*, F16*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const Bf16*, float*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const F16*, float*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const Bf16*, Bf16*, std::int64_t, bool);
template void copy_or_add(CudaStream&, const F16*, F16*, std::int64_t, bool);

template void apply_dropout(CudaStream&, const Dropout&, const RowPlace&, std::int64_t, std::int64_t,
                            const float*, float*, bool);
template void apply_dropout(CudaStream&, const Dropout&, const RowPlace&, std::int64_t, std::int64_t,
                            const Bf16*, Bf16*, bool);
template void apply_dropout(CudaStream&, const Dropout&, const RowPlace&, std::int64_t, std::int64_t,
                            const F16*, F16*, bool);

}  // namespace skein::kernels::cuda
