#include "model/kernels/embedding.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/sort_rows.h"

namespace skein::kernels {
namespace cuda {

/// Positions: T or float.
template <class T, class Positions>
__global__ void __launch_bounds__(kEightThreads) embedding_kernel(EmbeddingArgs args, bool aligned) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t left = args.width - c, id = args.ids[r] - args.first_id;
    T* y = static_cast<T*>(args.y.data) + r * args.width + c;
    if (id < 0 || id >= args.vocabulary) return store_eight(y, eight_of(0.0f), left, aligned);
    Eight value = load_eight(static_cast<const T*>(args.table.data) + id * args.width + c, left, aligned);
    for (int i = 0; i < 8; ++i) value.v[i] *= args.scale;
    if (args.positions) {
        const auto* positions = static_cast<const Positions*>(args.positions.data);
        add_to(value, load_eight(positions + args.place.position(r) * args.width + c, left, aligned));
    }
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    }
    store_eight(y, value, left, aligned);
}

/// An eight of one id's row of dtable: the rows of the id, one after the other.
template <class T>
__global__ void __launch_bounds__(kEightThreads)
    table_gradient_kernel(EmbeddingBackwardArgs args, RowsById rows, bool aligned) {
    const auto [v, c] = my_eight(args.width);
    if (v >= args.vocabulary) return;
    const std::int64_t left = args.width - c;
    const std::int32_t begin = rows.first[v], end = rows.first[v + 1];
    if (begin == end && args.accumulate_table) return;
    float* to = args.dtable + v * args.width + c;
    Eight total = eight_of(0.0f);
    for (std::int32_t i = begin; i < end; ++i)
        add_to(total, load_eight(static_cast<const T*>(args.dy.data) + rows.order[i] * args.width + c, left,
                                 aligned));
    if (begin != end)
        for (int i = 0; i < 8; ++i) total.v[i] *= args.scale;
    if (args.accumulate_table) add_to(total, load_eight(to, left, aligned));
    store_eight(to, total, left, aligned);
}

/// An eight of one position's row of dpositions: the samples, one after the other.
template <class T>
__global__ void __launch_bounds__(kEightThreads)
    position_gradient_kernel(EmbeddingBackwardArgs args, bool aligned) {
    const auto [position, c] = my_eight(args.width);
    if (position >= args.context) return;
    const std::int64_t left = args.width - c, t = position - args.place.first_position;
    const bool there = t >= 0 && t < args.place.positions;
    if (!there && args.accumulate_positions) return;
    float* to = args.dpositions + position * args.width + c;
    Eight total = eight_of(0.0f);
    if (there)
        for (std::int64_t r = t; r < args.rows; r += args.place.positions)
            add_to(total,
                   load_eight(static_cast<const T*>(args.dy.data) + r * args.width + c, left, aligned));
    if (args.accumulate_positions) add_to(total, load_eight(to, left, aligned));
    store_eight(to, total, left, aligned);
}

}  // namespace cuda

using namespace cuda;

void embedding(CudaStream& stream, const EmbeddingArgs& args) {
    const bool aligned = rows_are_aligned(args.width, args.table.data, args.positions.data, args.y.data);
    const Grid grid = grid_of_eights(args.rows, args.width);
    for_element_type(args.y.dtype, [&]<class T>() {
        if (args.positions.is_f32()) {
            launch<embedding_kernel<T, float>>(grid, kEightThreads, stream, args, aligned);
        } else {
            launch<embedding_kernel<T, T>>(grid, kEightThreads, stream, args, aligned);
        }
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
    for_element_type(args.dy.dtype, [&]<class T>() {
        if (args.dtable)
            launch<table_gradient_kernel<T>>(grid_of_eights(args.vocabulary, args.width), kEightThreads,
                                             stream, args, rows,
                                             rows_are_aligned(args.width, args.dy.data, args.dtable));
        if (args.dpositions)
            launch<position_gradient_kernel<T>>(grid_of_eights(args.context, args.width), kEightThreads,
                                                stream, args,
                                                rows_are_aligned(args.width, args.dy.data, args.dpositions));
    });
}

}  // namespace skein::kernels
