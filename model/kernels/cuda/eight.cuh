#pragma once

#include <algorithm>

#include "model/kernels/cuda/portable.cuh"
#include "model/kernels/elementwise.h"

/// Eight neighbouring elements in fp32: what one thread works on at a time. In 16 bits they are one access of
/// 16 bytes, in 32 bits two; and one Philox block makes the dropout mask of eight channels.
namespace skein::kernels::cuda {

struct Eight {
    float v[8];
};

/// Whether rows of `stride` elements from these addresses on can be read and written 16 bytes at a time. Null
/// counts as aligned.
template <class... T>
bool rows_are_aligned(std::int64_t stride, const T*... from) {
    return stride % 8 == 0 && ((reinterpret_cast<std::uintptr_t>(from) % 16 == 0) && ...);
}

constexpr std::int64_t divide_up(std::int64_t x, std::int64_t by) {
    return (x + by - 1) / by;
}

/// The first `count` (of which there may be none, or more than eight) elements, and `fill` for the others.
/// `aligned`: what rows_are_aligned said of them.
template <class T>
__device__ inline Eight load_eight(const T* from, std::int64_t count, bool aligned, float fill = 0.0f) {
    Eight out;
    if (aligned && count >= 8) {
        for (int part = 0; part < 8; part += Sixteen<T>::kCount) {
            const Sixteen<T> values = load_sixteen(from + part);
            for (int i = 0; i < Sixteen<T>::kCount; ++i) out.v[part + i] = widen(values.v[i]);
        }
    } else {
        for (int i = 0; i < 8; ++i) out.v[i] = i < count ? widen(from[i]) : fill;
    }
    return out;
}

template <class T>
__device__ inline void store_eight(T* to, const Eight& x, std::int64_t count, bool aligned) {
    if (aligned && count >= 8) {
        for (int part = 0; part < 8; part += Sixteen<T>::kCount) {
            Sixteen<T> values;
            for (int i = 0; i < Sixteen<T>::kCount; ++i) values.v[i] = narrow<T>(x.v[part + i]);
            store_sixteen(to + part, values);
        }
    } else {
        for (int i = 0; i < 8; ++i)
            if (i < count) to[i] = narrow<T>(x.v[i]);
    }
}

__device__ inline Eight eight_of(float x) {
    Eight out;
    for (int i = 0; i < 8; ++i) out.v[i] = x;
    return out;
}

__device__ inline void add_to(Eight& x, const Eight& y) {
    for (int i = 0; i < 8; ++i) x.v[i] += y.v[i];
}

/// ((0+4)+(2+6)) + ((1+5)+(3+7)), as the CPU adds its eight lanes.
__device__ inline float sum_of(const Eight& x) {
    return ((x.v[0] + x.v[4]) + (x.v[2] + x.v[6])) + ((x.v[1] + x.v[5]) + (x.v[3] + x.v[7]));
}

/// The dropout factors of channels c ... c + 7 of row r: 0 or dropout.scale. c is a multiple of 8.
__device__ inline Eight mask_of(const Dropout& dropout, const RowPlace& place, std::int64_t r,
                                std::int64_t c) {
    const PhiloxBlock words = philox(
        {static_cast<std::uint32_t>((place.first_channel + c) / 8),
         static_cast<std::uint32_t>(place.position(r)), static_cast<std::uint32_t>(place.sample(r)), 0u},
        dropout.key);
    Eight out;
    for (std::size_t i = 0; i < 8; ++i) {
        const std::uint32_t half = i % 2 == 0 ? words[i / 2] & 0xFFFFu : words[i / 2] >> 16;
        out.v[i] = half >= dropout.threshold ? dropout.scale : 0.0f;
    }
    return out;
}

/// A thread for each eight of each row, in blocks of kEightThreads: which one is mine. `row` is past the last
/// for threads that have none.
inline constexpr int kEightThreads = 256;
struct EightPlace {
    std::int64_t row, column;
};
__device__ inline EightPlace my_eight(std::int64_t width) {
    const std::int64_t groups = (width + 7) / 8;
    const std::int64_t index = block_index() * kEightThreads + thread_index();
    return {index / groups, index % groups * 8};
}
inline Grid grid_of_eights(std::int64_t rows, std::int64_t width) {
    return {divide_up(rows * divide_up(width, 8), kEightThreads), 1};
}

}  // namespace skein::kernels::cuda
