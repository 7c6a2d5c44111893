#include "model/kernels/embedding.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/sort_rows.h"

namespace skein::kernels {
namespace cuda {

/// Positions: T or float.
template <class T, class Positions, bool kWhole>
__global__ void __launch_bounds__(kEightThreads) embedding_kernel(EmbeddingArgs args) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t left = args.width - c, id = args.ids[r] - args.first_id;
    T* y = static_cast<T*>(args.y.data) + r * args.width + c;
    if (id < 0 || id >= args.vocabulary) return store_eight<kWhole>(y, eight_of(0.0f), left);
    Eight value = load_eight<kWhole>(static_cast<const T*>(args.table.data) + id * args.width + c, left);
    for (int i = 0; i < 8; ++i) value.v[i] *= args.scale;
    if (args.positions) {
        const auto* positions = static_cast<const Positions*>(args.positions.data);
        add_to(value, load_eight<kWhole>(positions + args.place.position(r) * args.width + c, left));
    }
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    }
    store_eight<kWhole>(y, value, left);
}

/// Σ of dy's eights at column c over the rows row(begin), ..., row(end - 1), added in that order. Several
/// rows are under way at a time: a frequent id has thousands of them, and all are one thread's.
template <bool kWhole, class T, class Row>
__device__ inline Eight sum_of_rows(const EmbeddingBackwardArgs& args, std::int64_t c, std::int64_t begin,
                                    std::int64_t end, const Row& row) {
    constexpr int kAtATime = 8;
    const auto* dy = static_cast<const T*>(args.dy.data);
    Eight total = eight_of(0.0f);
    std::int64_t i = begin;
    for (; i + kAtATime <= end; i += kAtATime) {
        std::int64_t from[kAtATime];
        Eight some[kAtATime];
        SKEIN_UNROLL
        for (int k = 0; k < kAtATime; ++k) from[k] = row(i + k) * args.width + c;
        SKEIN_UNROLL
        for (int k = 0; k < kAtATime; ++k) some[k] = load_eight<kWhole>(dy + from[k], args.width - c);
        SKEIN_UNROLL
        for (int k = 0; k < kAtATime; ++k) add_to(total, some[k]);
    }
    for (; i < end; ++i) add_to(total, load_eight<kWhole>(dy + row(i) * args.width + c, args.width - c));
    return total;
}

/// An eight of one id's row of dtable: the rows of the id, one after the other.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kEightThreads)
    table_gradient_kernel(EmbeddingBackwardArgs args, RowsById rows) {
    const auto [v, c] = my_eight(args.width);
    if (v >= args.vocabulary) return;
    const std::int64_t left = args.width - c;
    const std::int32_t begin = rows.first[v], end = rows.first[v + 1];
    if (begin == end && args.accumulate_table) return;
    float* to = args.dtable + v * args.width + c;
    Eight total = sum_of_rows<kWhole, T>(args, c, begin, end,
                                         [&](std::int64_t i) { return std::int64_t{rows.order[i]}; });
    for (int i = 0; i < 8; ++i) total.v[i] *= args.scale;
    if (args.accumulate_table) add_to(total, load_eight<kWhole>(to, left));
    store_eight<kWhole>(to, total, left);
}

/// An eight of one position's row of dpositions: the samples, one after the other.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kEightThreads) position_gradient_kernel(EmbeddingBackwardArgs args) {
    const auto [position, c] = my_eight(args.width);
    if (position >= args.context) return;
    const std::int64_t left = args.width - c, t = position - args.place.first_position;
    const bool there = t >= 0 && t < args.place.positions;
    if (!there && args.accumulate_positions) return;
    float* to = args.dpositions + position * args.width + c;
    const std::int64_t samples = there ? divide_up(args.rows - t, args.place.positions) : 0;
    Eight total = sum_of_rows<kWhole, T>(args, c, 0, samples,
                                         [&](std::int64_t i) { return t + i * args.place.positions; });
    if (args.accumulate_positions) add_to(total, load_eight<kWhole>(to, left));
    store_eight<kWhole>(to, total, left);
}

}  // namespace cuda

using namespace cuda;

void embedding(CudaStream& stream, const EmbeddingArgs& args) {
    const bool whole = rows_are_aligned(args.width, args.table.data, args.positions.data, args.y.data);
    const Grid grid = grid_of_eights(args.rows, args.width);
    for_element_type(args.y.dtype, [&]<class T>() {
        for_whole_eights(whole, [&](auto is_whole) {
            constexpr bool kWhole = decltype(is_whole)::value;
            if (args.positions.is_f32()) {
                launch<embedding_kernel<T, float, kWhole>>(grid, kEightThreads, stream, args);
            } else {
                launch<embedding_kernel<T, T, kWhole>>(grid, kEightThreads, stream, args);
            }
        });
    });
}

void embedding_backward(CudaStream& stream, const EmbeddingBackwardArgs& args) {
    BlockRef scratch;
    RowsById rows{};
    if (args.dtable) {
        scratch = stream.pool->allocate(
            static_cast<std::size_t>(sort_rows_workspace(args.rows, args.vocabulary)) * sizeof(std::int32_t));
        const std::int64_t end = std::max(args.ids_end, args.first_id + args.vocabulary);
        rows = sort_rows(stream, args.rows, {args.first_id, args.vocabulary, end}, args.ids,
                         reinterpret_cast<std::int32_t*>(scratch.get()->data));
    }
    const bool whole = rows_are_aligned(args.width, args.dy.data, args.dtable, args.dpositions);
    for_element_type(args.dy.dtype, [&]<class T>() {
        for_whole_eights(whole, [&](auto is_whole) {
            constexpr bool kWhole = decltype(is_whole)::value;
            if (args.dtable)
                launch<table_gradient_kernel<T, kWhole>>(grid_of_eights(args.vocabulary, args.width),
                                                         kEightThreads, stream, args, rows);
            if (args.dpositions)
                launch<position_gradient_kernel<T, kWhole>>(grid_of_eights(args.context, args.width),
                                                            kEightThreads, stream, args);
        });
    });
}

}  // namespace skein::kernels
