#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "model/kernels/cuda/portable.cuh"
#include "model/kernels/elementwise.h"

/// Eight neighbouring elements in fp32: what one thread works on at a time. In 16 bits they are one access of
/// 16 bytes, in 32 bits two; and one Philox block makes the dropout mask of eight channels.
namespace skein::kernels::cuda {

struct Eight {
    float v[8];
};

/// Whether rows of `stride` elements from these addresses on can be read and written 16 bytes at a time. Null
/// counts as aligned. Where rows are as long as that, all their eights are whole.
template <class... T>
bool rows_are_aligned(std::int64_t stride, const T*... from) {
    return stride % 8 == 0 && ((reinterpret_cast<std::uintptr_t>(from) % 16 == 0) && ...);
}

constexpr std::int64_t divide_up(std::int64_t x, std::int64_t by) {
    return (x + by - 1) / by;
}

template <class T>
__device__ inline Eight widened(const Sixteen<T> (&parts)[8 / Sixteen<T>::kCount]) {
    Eight out;
    for (int i = 0; i < 8; ++i) out.v[i] = widen(parts[i / Sixteen<T>::kCount].v[i % Sixteen<T>::kCount]);
    return out;
}

template <class T>
__device__ inline void store_whole(T* to, const Eight& x) {
    if constexpr (sizeof(T) == 2) {
        unsigned words[4];
        for (int i = 0; i < 4; ++i) words[i] = narrow_two<T>(x.v[2 * i], x.v[2 * i + 1]);
        Sixteen<T> values;
        memcpy(&values, words, sizeof values);
        store_sixteen(to, values);
    } else {
        for (int part = 0; part < 8; part += Sixteen<T>::kCount) {
            Sixteen<T> values;
            for (int i = 0; i < Sixteen<T>::kCount; ++i) values.v[i] = narrow<T>(x.v[part + i]);
            store_sixteen(to + part, values);
        }
    }
}

/// The first `count` (of which there may be none, or more than eight) elements, and zeros for the others.
/// kWhole: there are eight or none, on a multiple of 16 bytes. Then no branch stands between the loads of a
/// kernel, and all of them are under way before the first is waited for.
template <bool kWhole, class T>
__device__ inline Eight load_eight(const T* from, std::int64_t count) {
    if constexpr (kWhole) {
        Sixteen<T> parts[8 / Sixteen<T>::kCount] = {};
        if (count > 0)
            for (int i = 0; i < 8 / Sixteen<T>::kCount; ++i)
                parts[i] = load_sixteen(from + i * Sixteen<T>::kCount);
        return widened(parts);
    } else {
        Eight out;
        for (int i = 0; i < 8; ++i) out.v[i] = i < count ? widen(from[i]) : 0.0f;
        return out;
    }
}

template <bool kWhole, class T>
__device__ inline void store_eight(T* to, const Eight& x, std::int64_t count) {
    if constexpr (kWhole) {
        if (count > 0) store_whole(to, x);
    } else {
        for (int i = 0; i < 8; ++i)
            if (i < count) to[i] = narrow<T>(x.v[i]);
    }
}

/// Calls body(std::bool_constant kWhole).
template <class Body>
void for_whole_eights(bool whole, const Body& body) {
    if (whole) {
        body(std::true_type{});
    } else {
        body(std::false_type{});
    }
}

/// The same where it is known while the kernel runs; `aligned`: what rows_are_aligned said of them.
template <class T>
__device__ inline Eight load_eight(const T* from, std::int64_t count, bool aligned) {
    return aligned && count >= 8 ? load_eight<true>(from, count) : load_eight<false>(from, count);
}
template <class T>
__device__ inline void store_eight(T* to, const Eight& x, std::int64_t count, bool aligned) {
    if (aligned && count >= 8) {
        store_whole(to, x);
    } else {
        store_eight<false>(to, x, count);
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

/// x / by, neither of them negative. Where 32 bits hold both, which is nearly always, a third of the work.
__device__ inline std::int64_t quotient(std::int64_t x, std::int64_t by) {
    if ((x | by) >> 32 == 0) return static_cast<std::uint32_t>(x) / static_cast<std::uint32_t>(by);
    return x / by;
}

/// The dropout factors of channels c ... c + 7 of row r: 0 or dropout.scale. c is a multiple of 8.
__device__ inline Eight mask_of(const Dropout& dropout, const RowPlace& place, std::int64_t r,
                                std::int64_t c) {
    const std::int64_t row = place.first_row + r, samples = quotient(row, place.positions);
    const PhiloxBlock words =
        philox({static_cast<std::uint32_t>((place.first_channel + c) / 8),
                static_cast<std::uint32_t>(place.first_position + row - samples * place.positions),
                static_cast<std::uint32_t>(place.first_sample + samples), 0u},
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
    const std::int64_t index = block_index() * kEightThreads + thread_index(), row = quotient(index, groups);
    return {row, (index - row * groups) * 8};
}
inline Grid grid_of_eights(std::int64_t rows, std::int64_t width) {
    return {divide_up(rows * divide_up(width, 8), kEightThreads), 1};
}

}  // namespace skein::kernels::cuda
