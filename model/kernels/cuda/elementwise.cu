#include "model/kernels/elementwise.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"

namespace skein::kernels {
namespace cuda {

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

__global__ void __launch_bounds__(kEightThreads)
    add_kernel(const float* left, const float* right, float* target, std::int64_t count, bool aligned) {
    const std::int64_t begin = (block_index() * kEightThreads + thread_index()) * 8, rest = count - begin;
    if (rest <= 0) return;
    Eight sum = load_eight(left + begin, rest, aligned);
    add_to(sum, load_eight(right + begin, rest, aligned));
    store_eight(target + begin, sum, rest, aligned);
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

}  // namespace cuda

using namespace cuda;

void copy_or_add(CudaStream& stream, ConstOperand source, Operand target, std::int64_t count,
                 bool accumulate) {
    const bool aligned = rows_are_aligned(8, source.data, target.data);
    for_element_type(source.dtype, [&]<class From>() {
        for_element_type(target.dtype, [&]<class To>() {
            launch<copy_or_add_kernel<From, To>>(grid_of_eights(1, count), kEightThreads, stream,
                                                 static_cast<const From*>(source.data),
                                                 static_cast<To*>(target.data), count, accumulate, aligned);
        });
    });
}

void add(CudaStream& stream, const float* left, const float* right, float* target, std::int64_t count) {
    launch<add_kernel>(grid_of_eights(1, count), kEightThreads, stream, left, right, target, count,
                       rows_are_aligned(8, left, right, target));
}

void apply_dropout(CudaStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate) {
    for_element_type(y.dtype, [&]<class T>() {
        launch<apply_dropout_kernel<T>>(grid_of_eights(rows, width), kEightThreads, stream, dropout, place,
                                        rows, width, static_cast<const T*>(x.data), static_cast<T*>(y.data),
                                        accumulate, rows_are_aligned(width, x.data, y.data));
    });
}

}  // namespace skein::kernels
