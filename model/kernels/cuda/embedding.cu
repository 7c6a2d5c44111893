#include "model/kernels/cuda/embedding.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/sort_rows.h"

namespace skein::kernels::cuda {

template <class T>
__global__ void __launch_bounds__(kEightThreads) embedding_kernel(EmbeddingArgs<T> args, bool aligned) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t left = args.width - c;
    Eight value = load_eight(args.table + args.ids[r] * args.width + c, left, aligned);
    for (int i = 0; i < 8; ++i) value.v[i] *= args.scale;
    if (args.positions) {
        const std::int64_t position = args.place.first_position + r % args.place.positions;
        add_to(value, load_eight(args.positions + position * args.width + c, left, aligned));
    }
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    }
    store_eight(args.y + r * args.width + c, value, left, aligned);
}

template <class T>
void embedding(CudaStream& stream, const EmbeddingArgs<T>& args) {
    const bool aligned = rows_are_aligned(args.width, args.table, args.positions, args.y);
    launch<embedding_kernel<T>>(grid_of_eights(args.rows, args.width), kEightThreads, stream, args, aligned);
}

/// An eight of one id's row of dtable: the rows of the id, one after the other.
template <class T>
__global__ void __launch_bounds__(kEightThreads)
    table_gradient_kernel(EmbeddingBackwardArgs<T> args, RowsById rows, bool aligned) {
    const auto [v, c] = my_eight(args.width);
    if (v >= args.vocabulary) return;
    const std::int64_t left = args.width - c;
    const std::int32_t begin = rows.first[v], end = rows.first[v + 1];
    if (begin == end && args.accumulate_table) return;
    float* to = args.dtable + v * args.width + c;
    Eight total = eight_of(0.0f);
    for (std::int32_t i = begin; i < end; ++i)
        add_to(total, load_eight(args.dy + rows.order[i] * args.width + c, left, aligned));
    if (begin != end)
        for (int i = 0; i < 8; ++i) total.v[i] *= args.scale;
    if (args.accumulate_table) add_to(total, load_eight(to, left, aligned));
    store_eight(to, total, left, aligned);
}

/// An eight of one position's row of dpositions: the samples, one after the other.
template <class T>
__global__ void __launch_bounds__(kEightThreads)
    position_gradient_kernel(EmbeddingBackwardArgs<T> args, bool aligned) {
    const auto [position, c] = my_eight(args.width);
    if (position >= args.context) return;
    const std::int64_t left = args.width - c, t = position - args.place.first_position;
    const bool there = t >= 0 && t < args.place.positions;
    if (!there && args.accumulate_positions) return;
    float* to = args.dpositions + position * args.width + c;
    Eight total = eight_of(0.0f);
    if (there)
        for (std::int64_t r = t; r < args.rows; r += args.place.positions)
            add_to(total, load_eight(args.dy + r * args.width + c, left, aligned));
    if (args.accumulate_positions) add_to(total, load_eight(to, left, aligned));
    store_eight(to, total, left, aligned);
}

std::int64_t embedding_backward_workspace(std::int64_t rows, std::int64_t vocabulary) {
    return sort_rows_workspace(rows, vocabulary);
}

template <class T>
void embedding_backward(CudaStream& stream, const EmbeddingBackwardArgs<T>& args) {
    if (args.dtable) {
        const RowsById rows = sort_rows(stream, args.rows, args.vocabulary, args.ids, args.workspace);
        launch<table_gradient_kernel<T>>(grid_of_eights(args.vocabulary, args.width), kEightThreads, stream,
                                         args, rows, rows_are_aligned(args.width, args.dy, args.dtable));
    }
    if (args.dpositions)
        launch<position_gradient_kernel<T>>(grid_of_eights(args.context, args.width), kEightThreads, stream,
                                            args, rows_are_aligned(args.width, args.dy, args.dpositions));
}

template void embedding(CudaStream&, const EmbeddingArgs<float>&);
template void embedding(CudaStream&, const EmbeddingArgs<Bf16>&);
template void embedding(CudaStream&, const EmbeddingArgs<F16>&);
template void embedding_backward(CudaStream&, const EmbeddingBackwardArgs<float>&);
template void embedding_backward(CudaStream&, const EmbeddingBackwardArgs<Bf16>&);
template void embedding_backward(CudaStream&, const EmbeddingBackwardArgs<F16>&);

}  // namespace skein::kernels::cuda
