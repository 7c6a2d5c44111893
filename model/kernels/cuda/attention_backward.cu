#include "model/kernels/cuda/attention_backward.cuh"

#include "model/kernels/attention.h"
#include "model/tensor/pool.h"

namespace skein::kernels::cuda {

inline constexpr int kDotThreads = 256;

/// D, kWidth / 8 lanes a row: dots[b, h, q] = Σ_c dO · O.
template <class T, int kWidth>
__global__ void __launch_bounds__(kDotThreads)
    attention_dots_kernel(AttentionBackwardArgs args, bool aligned, float* dots) {
    constexpr int kLanes = kWidth / 8;
    const AttentionArgs& forward = args.forward;
    // rows in the order in which they lie in memory
    const std::int64_t row = (block_index() * kDotThreads + thread_index()) / kLanes;
    const std::int64_t token = row / forward.heads, sample = token / forward.query_length;
    const bool exists = sample < forward.batch;
    const HeadPlace place(forward, exists ? sample : 0, row % forward.heads);
    const std::int64_t query = token % forward.query_length, c = thread_index() % kLanes * 8;
    const std::int64_t left = exists && query < place.queries ? forward.head_width - c : 0;
    const auto output = query_rows<T>(forward, place, static_cast<const void*>(forward.output.data),
                                      forward.output_stride, aligned);
    const auto gradient =
        query_rows<T>(forward, place, args.output_gradient.data, args.output_gradient_stride, aligned);
    Eight product = load_eight(output.data + query * output.stride + c, left, aligned);
    const Eight other = load_eight(gradient.data + query * gradient.stride + c, left, aligned);
    for (int i = 0; i < 8; ++i) product.v[i] *= other.v[i];
    float sum = sum_of(product);
    for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
    if (exists && c == 0) dots[place.statistics(forward) + query] = sum;
}

/// A block takes kOwn keys of one key-value head and goes over the queries that see them, head by head: dK
/// and dV. Scores stand transposed, [keys, queries].
template <class T, int kWidth>
__global__ void __launch_bounds__(128) attention_key_gradients_kernel(BackwardArgs args) {
    using Shape = BackwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kOut = Shape::kOut, kOther = Shape::kOther;
    constexpr int kStride = kTileStride<T, kWidth>, kCount = Shape::kPiece / 8;
    const AttentionArgs& forward = args.of.forward;
    const BackwardTiles<T, kWidth> tiles;

    const std::int64_t key_tiles = divide_up(forward.key_length, Shape::kOwn);
    const std::int64_t group = forward.heads / forward.key_value_heads, pair = block_index() / key_tiles;
    const std::int64_t sample = pair / forward.key_value_heads,
                       first_head = pair % forward.key_value_heads * group;
    const HeadPlace keys_place(forward, sample, first_head);
    const int first = static_cast<int>(block_index() % key_tiles) * Shape::kOwn;
    const int own = thread_index() / kWarp * kStrips * 16;  // the warp's first row of the tile
    const int first_channel = static_cast<int>(block_index_y()) * kOut;
    const bool drops = forward.dropout.threshold != 0;
    const float raise = raise_of(forward.dropout);

    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        turned(forward, key_rows<T>(forward, keys_place, forward.key.data, forward.key_stride, args.aligned),
               0),
        first, keys_place.keys, tiles.own[0]);
    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        key_rows<T>(forward, keys_place, forward.value.data, forward.value_stride, args.aligned), first,
        keys_place.keys, tiles.own[1]);
    OwnRows<T, kWidth, kStrips, Shape::kHeld> keys(tiles.own[0] + own * kStride),
        values(tiles.own[1] + own * kStride);
    sync_threads();
    keys.hold();
    values.hold();

    Sums key_gradient[kStrips][kOut / 8] = {}, value_gradient[kStrips][kOut / 8] = {};
    const int end = first < keys_place.keys ? keys_place.queries : 0;
    for (std::int64_t head = first_head; head < first_head + group; ++head) {
        const HeadPlace place(forward, sample, head);
        const auto query_source = turned(
            forward, query_rows<T>(forward, place, forward.query.data, forward.query_stride, args.aligned),
            forward.query_offset);
        const auto gradient_source = query_rows<T>(forward, place, args.of.output_gradient.data,
                                                   args.of.output_gradient_stride, args.aligned);
        for (int query = place.first_query(first) / kOther * kOther; query < end; query += kOther) {
            sync_threads();  // the readers of the last tile are through
            load_tile<kWidth, kOther, Shape::kThreads>(query_source, query, end, tiles.other[0]);
            load_tile<kWidth, kOther, Shape::kThreads>(gradient_source, query, end, tiles.other[1]);
            for (int i = thread_index(); i < kOther; i += Shape::kThreads) {
                const QueryStatistics statistics = query_statistics<T>(args, place, query + i);
                tiles.log_sum_exp[i] = statistics.log_sum_exp;
                tiles.dots[i] = statistics.dot;
                tiles.visible[i] = statistics.visible;
            }
            if (drops)
                load_kept<kOther, Shape::kOwn, Shape::kThreads>(forward, place, query, first, tiles.kept);
            sync_threads();
            for (int piece = 0; piece < kOther && query + piece < end; piece += Shape::kPiece) {
                if (place.first_query(first + own) >= query + piece + Shape::kPiece) continue;
                Sums weights[kStrips][kCount], gradients[kStrips][kCount];
                multiply_rows(keys, tiles.other[0] + piece * kStride, weights);
                multiply_rows(values, tiles.other[1] + piece * kStride, gradients);
                SKEIN_UNROLL
                for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
                for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
                for (int i = 0; i < 4; ++i) {
                    const int row = own + strip * 16 + i / 2 * 8 + lane_row(), key = first + row;
                    const int column = piece + n * 8 + lane_column() + i % 2;
                    const bool kept =
                        !drops || (tiles.kept[column * (Shape::kOwn / 8) + row / 8] >> row % 8 & 1) != 0;
                    take_gradient<T>(
                        weights[strip][n].v[i], gradients[strip][n].v[i], forward.scale,
                        forward.bias ? forward.bias + place.bias_at(forward, query + column) + key : nullptr,
                        key < tiles.visible[column], kept, raise, tiles.log_sum_exp[column],
                        tiles.dots[column]);
                }
                add_weighted_rows<kWidth>(weights, tiles.other[1] + piece * kStride + first_channel,
                                          value_gradient);
                add_weighted_rows<kWidth>(gradients, tiles.other[0] + piece * kStride + first_channel,
                                          key_gradient);
            }
        }
    }
    sync_threads();  // before the tiles take the gradients

    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kOut / 8; ++n) SKEIN_UNROLL
    for (int i = 0; i < 4; ++i) {
        key_gradient[strip][n].v[i] *= forward.scale;
        value_gradient[strip][n].v[i] *= raise;
    }
    const int rows = static_cast<int>(forward.key_length);
    store_sums<kWidth, kOut, kStrips, Shape::kWarps>(
        key_gradient, tiles.own[0],
        turned(forward,
               key_rows<T>(forward, keys_place, args.of.key_gradient.data, args.of.key_gradient_stride,
                           args.aligned),
               0),
        first, rows, first_channel);
    store_sums<kWidth, kOut, kStrips, Shape::kWarps>(
        value_gradient, tiles.own[1],
        key_rows<T>(forward, keys_place, args.of.value_gradient.data, args.of.value_gradient_stride,
                    args.aligned),
        first, rows, first_channel);
}

/// A block takes kOwn queries of one head and goes over the keys that they see: dQ.
template <class T, int kWidth>
__global__ void __launch_bounds__(128) attention_query_gradients_kernel(BackwardArgs args) {
    using Shape = BackwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kOther = Shape::kOther;
    constexpr int kStride = kTileStride<T, kWidth>, kCount = Shape::kPiece / 8;
    const AttentionArgs& forward = args.of.forward;
    const BackwardTiles<T, kWidth> tiles;

    const std::int64_t query_tiles = divide_up(forward.query_length, Shape::kOwn);
    const std::int64_t tile = query_tiles - 1 - block_index() % query_tiles,
                       pair = block_index() / query_tiles;
    const HeadPlace place(forward, pair / forward.heads, pair % forward.heads);
    const int first = static_cast<int>(tile) * Shape::kOwn;
    const int own = thread_index() / kWarp * kStrips * 16, row = own + lane_row();

    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        turned(forward, query_rows<T>(forward, place, forward.query.data, forward.query_stride, args.aligned),
               forward.query_offset),
        first, place.queries, tiles.own[0]);
    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        query_rows<T>(forward, place, args.of.output_gradient.data, args.of.output_gradient_stride,
                      args.aligned),
        first, place.queries, tiles.own[1]);
    OwnRows<T, kWidth, kStrips, Shape::kHeld> queries(tiles.own[0] + own * kStride),
        output_gradients(tiles.own[1] + own * kStride);
    sync_threads();
    queries.hold();
    output_gradients.hold();
    QueryStatistics rows[kStrips][2];
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h)
        rows[strip][h] = query_statistics<T>(args, place, first + row + strip * 16 + h * 8);

    Sums query_gradient[kStrips][kWidth / 8] = {};
    const auto key_source =
        turned(forward, key_rows<T>(forward, place, forward.key.data, forward.key_stride, args.aligned), 0);
    const auto value_source =
        key_rows<T>(forward, place, forward.value.data, forward.value_stride, args.aligned);
    const int last = std::min(first + Shape::kOwn, place.queries) - 1;  // before first if there is none
    const int limit = last < first ? 0 : place.visible(last);
    const int own_last = std::min(first + own + kStrips * 16, place.queries) - 1;
    const int own_limit = own_last < first + own ? 0 : place.visible(own_last);
    for (int key = 0; key < limit; key += kOther) {
        if (key > 0) sync_threads();  // the readers of the last tile are through
        load_tile<kWidth, kOther, Shape::kThreads>(key_source, key, place.keys, tiles.other[0]);
        load_tile<kWidth, kOther, Shape::kThreads>(value_source, key, place.keys, tiles.other[1]);
        if (forward.dropout.threshold != 0)
            load_kept<Shape::kOwn, kOther, Shape::kThreads>(forward, place, first, key, tiles.kept);
        sync_threads();
        for (int piece = 0; piece < kOther && key + piece < own_limit; piece += Shape::kPiece) {
            Sums scores[kStrips][kCount], gradients[kStrips][kCount];
            multiply_rows(queries, tiles.other[0] + piece * kStride, scores);
            multiply_rows(output_gradients, tiles.other[1] + piece * kStride, gradients);
            take_query_gradients<T, kWidth>(args, place, rows, tiles.kept, first, row, key,
                                            piece + lane_column(), scores, gradients);
            add_weighted_rows<kWidth>(gradients, tiles.other[0] + piece * kStride, query_gradient);
        }
    }
    sync_threads();  // before the queries' tile takes their gradient

    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kWidth / 8; ++n) SKEIN_UNROLL
    for (int i = 0; i < 4; ++i) query_gradient[strip][n].v[i] *= forward.scale;
    store_sums<kWidth, kWidth, kStrips, Shape::kWarps>(
        query_gradient, tiles.own[0],
        turned(forward,
               query_rows<T>(forward, place, args.of.query_gradient.data, args.of.query_gradient_stride,
                             args.aligned),
               forward.query_offset),
        first, static_cast<int>(forward.query_length), 0);
}

}  // namespace skein::kernels::cuda

namespace skein::kernels {

void attention_backward(CudaStream& stream, const AttentionBackwardArgs& args) {
    using cuda::divide_up;
    const AttentionArgs& forward = args.forward;
    const std::int64_t rows = forward.batch * forward.query_length * forward.heads;
    const BlockRef scratch = stream.pool->allocate(static_cast<std::size_t>(rows) * sizeof(float));
    float* const dots = reinterpret_cast<float*>(scratch.get()->data);
    const auto is_aligned = [&](ConstOperand operand, std::int64_t stride) {
        return cuda::heads_are_aligned(forward, operand, stride);
    };
    const bool aligned = cuda::heads_are_aligned(forward) &&
                         is_aligned(args.output_gradient, args.output_gradient_stride) &&
                         is_aligned(args.query_gradient, args.query_gradient_stride) &&
                         is_aligned(args.key_gradient, args.key_gradient_stride) &&
                         is_aligned(args.value_gradient, args.value_gradient_stride);
    const cuda::BackwardArgs all{args, dots, aligned};
    cuda::for_attention_shape("attention_backward", forward, [&]<class T, int kWidth>() {
        using Shape = cuda::BackwardShape<T, kWidth>;
        cuda::launch<cuda::attention_dots_kernel<T, kWidth>>(
            {divide_up(rows * (kWidth / 8), cuda::kDotThreads), 1}, cuda::kDotThreads, stream, args, aligned,
            dots);
        const std::int64_t keys =
            divide_up(forward.key_length, Shape::kOwn) * forward.key_value_heads * forward.batch;
        cuda::launch_with_shared<cuda::attention_key_gradients_kernel<T, kWidth>>(
            {keys, kWidth / Shape::kOut}, Shape::kThreads, Shape::kBytes, stream, all);
        const std::int64_t queries =
            divide_up(forward.query_length, Shape::kOwn) * forward.heads * forward.batch;
        cuda::launch_with_shared<cuda::attention_query_gradients_kernel<T, kWidth>>(
            {queries, 1}, Shape::kThreads, Shape::kBytes, stream, all);
    });
    if (args.bias_gradient) cuda::attention_bias_gradient(stream, all);
}

}  // namespace skein::kernels
