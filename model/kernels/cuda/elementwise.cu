#include "model/kernels/elementwise.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"

namespace skein::kernels {
namespace cuda {

template <class From, class To, bool kWhole>
__global__ void __launch_bounds__(kEightThreads)
    copy_or_add_kernel(const From* source, To* target, std::int64_t count, bool accumulate) {
    const std::int64_t begin = (block_index() * kEightThreads + thread_index()) * 8, left = count - begin;
    if (left <= 0) return;
    Eight value = load_eight<kWhole>(source + begin, left);
    if (accumulate) {
        const Eight old = load_eight<kWhole>(target + begin, left);
        for (int i = 0; i < 8; ++i) value.v[i] = old.v[i] + value.v[i];
    }
    store_eight<kWhole>(target + begin, value, left);
}

template <bool kWhole>
__global__ void __launch_bounds__(kEightThreads)
    add_kernel(const float* left, const float* right, float* target, std::int64_t count) {
    const std::int64_t begin = (block_index() * kEightThreads + thread_index()) * 8, rest = count - begin;
    if (rest <= 0) return;
    Eight sum = load_eight<kWhole>(left + begin, rest);
    add_to(sum, load_eight<kWhole>(right + begin, rest));
    store_eight<kWhole>(target + begin, sum, rest);
}

template <class T, bool kWhole>
__global__ void __launch_bounds__(kEightThreads)
    apply_dropout_kernel(Dropout dropout, RowPlace place, std::int64_t rows, std::int64_t width, const T* x,
                         T* y, bool accumulate) {
    const auto [r, c] = my_eight(width);
    if (r >= rows) return;
    const std::int64_t at = r * width + c, left = width - c;
    Eight value = load_eight<kWhole>(x + at, left);
    const Eight old = load_eight<kWhole>(y + at, accumulate ? left : 0);
    const Eight mask = mask_of(dropout, place, r, c);
    for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    if (accumulate) add_to(value, old);
    store_eight<kWhole>(y + at, value, left);
}

}  // namespace cuda

using namespace cuda;

void copy_or_add(CudaStream& stream, ConstOperand source, Operand target, std::int64_t count,
                 bool accumulate) {
    const bool whole = rows_are_aligned(count, source.data, target.data);
    for_element_type(source.dtype, [&]<class From>() {
        for_element_type(target.dtype, [&]<class To>() {
            for_whole_eights(whole, [&](auto is_whole) {
                launch<copy_or_add_kernel<From, To, decltype(is_whole)::value>>(
                    grid_of_eights(1, count), kEightThreads, stream, static_cast<const From*>(source.data),
                    static_cast<To*>(target.data), count, accumulate);
            });
        });
    });
}

void add(CudaStream& stream, const float* left, const float* right, float* target, std::int64_t count) {
    for_whole_eights(rows_are_aligned(count, left, right, target), [&](auto is_whole) {
        launch<add_kernel<decltype(is_whole)::value>>(grid_of_eights(1, count), kEightThreads, stream, left,
                                                      right, target, count);
    });
}

void apply_dropout(CudaStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate) {
    for_element_type(y.dtype, [&]<class T>() {
        for_whole_eights(rows_are_aligned(width, x.data, y.data), [&](auto is_whole) {
            launch<apply_dropout_kernel<T, decltype(is_whole)::value>>(
                grid_of_eights(rows, width), kEightThreads, stream, dropout, place, rows, width,
                static_cast<const T*>(x.data), static_cast<T*>(y.data), accumulate);
        });
    });
}

}  // namespace skein::kernels
