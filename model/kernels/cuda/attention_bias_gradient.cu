#include "model/kernels/cuda/attention_backward.cuh"

namespace skein::kernels::cuda {

/// A block takes a tile of one head's scores, and the samples one after the other: bias_gradient = Σ dS.
template <class T, int kWidth>
__global__ void __launch_bounds__(128) attention_bias_gradient_kernel(BackwardArgs args) {
    using Shape = BackwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kStride = kTileStride<T, kWidth>;
    const AttentionArgs& forward = args.of.forward;
    const BackwardTiles<T, kWidth> tiles;
    const auto keys = tiles.stage(0);
    const std::int64_t key_tiles = divide_up(forward.key_length, Shape::kOther);
    const Divided block = uniform(divide(block_index(), key_tiles));
    const int first_query = static_cast<int>(block.quotient) * Shape::kOwn;
    const int first_key = static_cast<int>(block.remainder) * Shape::kOther;
    const std::int64_t head = block_index_y();
    const int row = thread_index() / kWarp * kStrips * 16 + lane_row(), column = lane_column();

    Sums total[kStrips][Shape::kOther / 8] = {};
    for (std::int64_t sample = 0; sample < forward.batch; ++sample) {
        const HeadPlace place(forward, sample, head);
        if (first_query >= place.queries || first_key >= place.keys) continue;
        sync_threads();  // the readers of the last sample are through
        load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
            turned(forward,
                   query_rows<T>(forward, place, forward.query.data, forward.query_stride, args.aligned),
                   forward.query_offset),
            first_query, place.queries, tiles.own_left());
        load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
            query_rows<T>(forward, place, args.of.output_gradient.data, args.of.output_gradient_stride,
                          args.aligned),
            first_query, place.queries, tiles.own_right());
        load_tile<kWidth, Shape::kOther, Shape::kThreads>(
            turned(forward, key_rows<T>(forward, place, forward.key.data, forward.key_stride, args.aligned),
                   0),
            first_key, place.keys, keys.left);
        load_tile<kWidth, Shape::kOther, Shape::kThreads>(
            key_rows<T>(forward, place, forward.value.data, forward.value_stride, args.aligned), first_key,
            place.keys, keys.right);
        if (forward.dropout.threshold != 0)
            load_kept<Shape::kOwn, Shape::kOther, Shape::kThreads>(forward, place, first_query, first_key,
                                                                   keys.kept);
        wait_for_copies();
        sync_threads();
        const OwnRows<T, kWidth, kStrips, false> queries(tiles.own_left() + (row - lane_row()) * kStride),
            output_gradients(tiles.own_right() + (row - lane_row()) * kStride);
        QueryStatistics rows[kStrips][2];
        SKEIN_UNROLL
        for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
        for (int h = 0; h < 2; ++h)
            rows[strip][h] = query_statistics(args, place, first_query + row + strip * 16 + h * 8);
        SKEIN_UNROLL
        for (int piece = 0; piece < Shape::kOther; piece += Shape::kPiece) {
            Sums scores[kStrips][Shape::kPiece / 8], gradients[kStrips][Shape::kPiece / 8];
            multiply_rows(queries, keys.left + piece * kStride, scores);
            multiply_rows(output_gradients, keys.right + piece * kStride, gradients);
            const PieceOfQueries<Shape> lane{forward,
                                             place,
                                             rows,
                                             keys.kept + row * (Shape::kOther / 8) + piece / 8,
                                             first_query + row,
                                             first_key + piece + column};
            take_gradients<T>(forward, lane, false, scores, gradients);
            SKEIN_UNROLL
            for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
            for (int n = 0; n < Shape::kPiece / 8; ++n) SKEIN_UNROLL
            for (int i = 0; i < 4; ++i) total[strip][piece / 8 + n].v[i] += gradients[strip][n].v[i];
        }
    }
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < Shape::kOther / 8; ++n) SKEIN_UNROLL
    for (int i = 0; i < 4; ++i) {
        const std::int64_t query = first_query + row + strip * 16 + i / 2 * 8;
        const std::int64_t key = first_key + column + n * 8 + i % 2;
        if (query < forward.query_length && key < forward.key_length)
            args.of.bias_gradient[(head * forward.query_length + query) * forward.key_length + key] =
                total[strip][n].v[i];
    }
}

void attention_bias_gradient(CudaStream& stream, const BackwardArgs& args) {
    const AttentionArgs& forward = args.of.forward;
    for_attention_shape("attention_backward", forward, [&]<class T, int kWidth>() {
        using Shape = BackwardShape<T, kWidth>;
        const std::int64_t tiles =
            divide_up(forward.query_length, Shape::kOwn) * divide_up(forward.key_length, Shape::kOther);
        launch_with_shared<attention_bias_gradient_kernel<T, kWidth>>({tiles, forward.heads}, Shape::kThreads,
                                                                      Shape::kBytes, stream, args);
    });
}

}  // namespace skein::kernels::cuda
