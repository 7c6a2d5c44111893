#include "model/kernels/cuda/attention_backward.cuh"

#include "model/kernels/attention.h"
#include "model/tensor/pool.h"

namespace skein::kernels::cuda {

inline constexpr int kDotThreads = 256;

/// D = Σ_c dO · O, by kWidth / 8 lanes a row, and log_sum_exp as the others want it.
template <class T, int kWidth>
__global__ void __launch_bounds__(kDotThreads) attention_dots_kernel(BackwardArgs args) {
    constexpr int kLanes = kWidth / 8, kRows = kDotThreads / kLanes;
    const AttentionArgs& forward = args.of.forward;
    // the heads of the same queries one after the other, as they lie in memory
    const Divided block = divide(block_index(), forward.heads),
                  tile = divide(block.quotient, divide_up(forward.query_length, kRows));
    const HeadPlace place(forward, tile.quotient, block.remainder);
    const std::int64_t query = tile.remainder * kRows + thread_index() / kLanes;
    const std::int64_t c = thread_index() % kLanes * 8;
    const std::int64_t left = query < place.queries ? forward.head_width - c : 0;
    const auto output = query_rows<T>(forward, place, static_cast<const void*>(forward.output.data),
                                      forward.output_stride, args.aligned);
    const auto gradient = query_rows<T>(forward, place, args.of.output_gradient.data,
                                        args.of.output_gradient_stride, args.aligned);
    Eight product = load_eight(output.data + query * output.stride + c, left, args.aligned);
    const Eight other = load_eight(gradient.data + query * gradient.stride + c, left, args.aligned);
    for (int i = 0; i < 8; ++i) product.v[i] *= other.v[i];
    float sum = sum_of(product);
    for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
    if (query >= forward.query_length || c != 0) return;
    const std::int64_t at = place.statistics(forward) + query;
    const float log_sum_exp = query < place.queries ? forward.log_sum_exp[at] : kNothing;
    args.dots[at] = sum;
    args.log_sum_exp[at] = log_sum_exp == kNothing ? -kNothing : log_sum_exp * kScoreUnit<T>;
}

/// A lane's part of a piece of scores whose rows are keys and whose columns are queries. Rows and columns are
/// counted from the lane's first.
template <class Shape>
struct PieceOfKeys {
    const AttentionArgs& args;
    const HeadPlace& place;
    const float *log_sum_exps, *dots;  ///< of the lane's first column
    const std::uint8_t* kept;          ///< likewise, from the warp's first row on
    int key, query;                    ///< the lane's first row and column

    __device__ bool sees(int row, int column) const {
        return query + column >= place.first_query(key + row) && query + column < place.queries;
    }
    __device__ bool keeps(int row, int column) const {
        return (kept[column * (Shape::kOwn / 8) + row / 8] >> lane_row() & 1) != 0;
    }
    __device__ float bias(int row, int column) const {
        return args.bias[place.bias_at(args, query + column) + key + row];
    }
    __device__ float log_sum_exp(int, int column) const { return log_sum_exps[column]; }
    __device__ float dot(int, int column) const { return dots[column]; }
};

/// A block takes kOwn keys of one key-value head and goes over the queries that see them, head by head: dK
/// and dV. Scores stand transposed, [keys, queries].
template <class T, int kWidth>
__global__ void __launch_bounds__(128, BackwardShape<T, kWidth>::kBlocks)
    attention_key_gradients_kernel(BackwardArgs args) {
    using Shape = BackwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kOut = Shape::kOut, kOther = Shape::kOther;
    constexpr int kStride = kTileStride<T, kWidth>, kCount = Shape::kPiece / 8;
    const AttentionArgs& forward = args.of.forward;
    const BackwardTiles<T, kWidth> tiles;

    const std::int64_t key_tiles = divide_up(forward.key_length, Shape::kOwn);
    const int group = uniform(static_cast<int>(divide(forward.heads, forward.key_value_heads).quotient));
    const Divided block = uniform(divide(block_index(), key_tiles)),
                  pair = uniform(divide(block.quotient, forward.key_value_heads));
    const HeadPlace place(forward, pair.quotient, pair.remainder * group);  // of the group's first head
    const int first = static_cast<int>(block.remainder) * Shape::kOwn;
    const int own = uniform(thread_index() / kWarp) * kStrips * 16;  // the warp's first row of the tile
    const int first_channel = kOut < kWidth ? static_cast<int>(block_index_y()) * kOut : 0;
    const bool drops = forward.dropout.threshold != 0;
    const float raise = raise_of(forward.dropout);

    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        turned(forward, key_rows<T>(forward, place, forward.key.data, forward.key_stride, args.aligned), 0),
        first, place.keys, tiles.own_left());
    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        key_rows<T>(forward, place, forward.value.data, forward.value_stride, args.aligned), first,
        place.keys, tiles.own_right());
    OwnRows<T, kWidth, kStrips, Shape::kKeysHeld> keys(tiles.own_left() + own * kStride),
        values(tiles.own_right() + own * kStride);
    wait_for_copies();
    sync_threads();
    keys.hold();
    values.hold();

    Sums key_gradient[kStrips][kOut / 8] = {}, value_gradient[kStrips][kOut / 8] = {};
    const auto query_source =
        turned(forward, query_rows<T>(forward, place, forward.query.data, forward.query_stride, args.aligned),
               forward.query_offset);
    const auto gradient_source = query_rows<T>(forward, place, args.of.output_gradient.data,
                                               args.of.output_gradient_stride, args.aligned);
    const std::int64_t statistics = place.statistics(forward);
    const int begin = place.first_query(first) / kOther * kOther;
    const int end = first < place.keys ? place.queries : 0;
    const int of_a_head = begin < end ? static_cast<int>(divide_up(end - begin, kOther)) : 0;
    const int own_first = place.first_query(first + own);                     // the first that sees a key
    const int own_whole = place.first_query(first + own + kStrips * 16 - 1);  // ... all of the warp's keys
    struct QueryTile {
        int head, query;  ///< from the group's first head on, and the tile's first
    } coming{0, begin}, here{0, begin};
    const auto go_on = [&](QueryTile& tile) {
        tile.query += kOther;
        if (tile.query >= end) tile = {tile.head + 1, begin};
    };
    const auto load = [&](int step) {
        const auto stage = tiles.stage(step);
        const int query = coming.query;
        load_tile<kWidth, kOther, Shape::kThreads>(of_head(query_source, coming.head), query, end,
                                                   stage.left);
        load_tile<kWidth, kOther, Shape::kThreads>(of_head(gradient_source, coming.head), query, end,
                                                   stage.right);
        const std::int64_t at = statistics + coming.head * forward.query_length;
        static_assert(kOther <= Shape::kThreads);
        if (const int i = thread_index(); i < kOther) {
            const bool exists = query + i < end;
            copy_async<4>(stage.log_sum_exp + i, args.log_sum_exp + at + query + i, exists);
            copy_async<4>(stage.dots + i, args.dots + at + query + i, exists);
        }
        if (drops)
            load_kept<kOther, Shape::kOwn, Shape::kThreads>(forward, place.of_head(coming.head), query, first,
                                                            stage.kept);
        go_on(coming);
    };
    const auto take = [&](int step) {
        const auto stage = tiles.stage(step);
        const int query = here.query;
        const HeadPlace head_place = place.of_head(here.head);
        SKEIN_NO_UNROLL
        for (int piece = 0; piece < kOther && query + piece < end; piece += Shape::kPiece) {
            if (own_first >= query + piece + Shape::kPiece) continue;
            Sums weights[kStrips][kCount], gradients[kStrips][kCount];
            multiply_rows(keys, stage.left + piece * kStride, weights);
            multiply_rows(values, stage.right + piece * kStride, gradients);
            const int column = piece + lane_column();
            const PieceOfKeys<Shape> lane{forward,
                                          head_place,
                                          stage.log_sum_exp + column,
                                          stage.dots + column,
                                          stage.kept + column * (Shape::kOwn / 8) + own / 8,
                                          first + own + lane_row(),
                                          query + column};
            const bool whole = query + piece >= own_whole && query + piece + Shape::kPiece <= end;
            take_gradients<T>(forward, lane, whole, weights, gradients);
            add_weighted_rows<kWidth>(weights, stage.right + piece * kStride + first_channel, value_gradient);
            add_weighted_rows<kWidth>(gradients, stage.left + piece * kStride + first_channel, key_gradient);
        }
        go_on(here);
    };
    in_stages<Shape::kStages>(group * of_a_head, load, take);
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
        key_gradient, tiles.own_left(),
        turned(
            forward,
            key_rows<T>(forward, place, args.of.key_gradient.data, args.of.key_gradient_stride, args.aligned),
            0),
        first, rows, first_channel);
    store_sums<kWidth, kOut, kStrips, Shape::kWarps>(
        value_gradient, tiles.own_right(),
        key_rows<T>(forward, place, args.of.value_gradient.data, args.of.value_gradient_stride, args.aligned),
        first, rows, first_channel);
}

/// A block takes kOwn queries of one head and goes over the keys that they see: dQ.
template <class T, int kWidth>
__global__ void __launch_bounds__(128, BackwardShape<T, kWidth>::kBlocks)
    attention_query_gradients_kernel(BackwardArgs args) {
    using Shape = BackwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kOther = Shape::kOther;
    constexpr int kStride = kTileStride<T, kWidth>, kCount = Shape::kPiece / 8;
    const AttentionArgs& forward = args.of.forward;
    const BackwardTiles<T, kWidth> tiles;

    const std::int64_t query_tiles = divide_up(forward.query_length, Shape::kOwn);
    const Divided block = uniform(divide(block_index(), query_tiles)),
                  pair = uniform(divide(block.quotient, forward.heads));
    const HeadPlace place(forward, pair.quotient, pair.remainder);
    const int first = static_cast<int>(query_tiles - 1 - block.remainder) * Shape::kOwn;
    const int own = uniform(thread_index() / kWarp) * kStrips * 16, row = own + lane_row();

    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        turned(forward, query_rows<T>(forward, place, forward.query.data, forward.query_stride, args.aligned),
               forward.query_offset),
        first, place.queries, tiles.own_left());
    load_tile<kWidth, Shape::kOwn, Shape::kThreads>(
        query_rows<T>(forward, place, args.of.output_gradient.data, args.of.output_gradient_stride,
                      args.aligned),
        first, place.queries, tiles.own_right());
    OwnRows<T, kWidth, kStrips, Shape::kQueriesHeld> queries(tiles.own_left() + own * kStride),
        output_gradients(tiles.own_right() + own * kStride);
    wait_for_copies();
    sync_threads();
    queries.hold();
    output_gradients.hold();
    QueryStatistics rows[kStrips][2];
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h)
        rows[strip][h] = query_statistics(args, place, first + row + strip * 16 + h * 8);

    Sums query_gradient[kStrips][kWidth / 8] = {};
    TileStream<kWidth, kOther, Shape::kThreads, T> key_tiles(
        turned(forward, key_rows<T>(forward, place, forward.key.data, forward.key_stride, args.aligned), 0),
        0);
    TileStream<kWidth, kOther, Shape::kThreads, T> value_tiles(
        key_rows<T>(forward, place, forward.value.data, forward.value_stride, args.aligned), 0);
    const int last = std::min(first + Shape::kOwn, place.queries) - 1;  // before first if there is none
    const int limit = last < first ? 0 : place.visible(last);
    const int own_last = std::min(first + own + kStrips * 16, place.queries) - 1;
    const int own_limit = own_last < first + own ? 0 : place.visible(own_last);
    const int own_whole =
        own_last < first + own + kStrips * 16 - 1 ? 0 : place.visible(first + own);  // keys that all see
    const auto load = [&](int step) {
        const int key = step * kOther;
        const auto stage = tiles.stage(step);
        key_tiles.load(place.keys, stage.left);
        value_tiles.load(place.keys, stage.right);
        if (forward.dropout.threshold != 0)
            load_kept<Shape::kOwn, kOther, Shape::kThreads>(forward, place, first, key, stage.kept);
    };
    const auto take = [&](int step) {
        const int key = step * kOther;
        const auto stage = tiles.stage(step);
        SKEIN_NO_UNROLL
        for (int piece = 0; piece < kOther && key + piece < own_limit; piece += Shape::kPiece) {
            Sums scores[kStrips][kCount], gradients[kStrips][kCount];
            multiply_rows(queries, stage.left + piece * kStride, scores);
            multiply_rows(output_gradients, stage.right + piece * kStride, gradients);
            const PieceOfQueries<Shape> lane{forward,     place,
                                             rows,        stage.kept + row * (Shape::kOther / 8) + piece / 8,
                                             first + row, key + piece + lane_column()};
            take_gradients<T>(forward, lane, key + piece + Shape::kPiece <= own_whole, scores, gradients);
            add_weighted_rows<kWidth>(gradients, stage.left + piece * kStride, query_gradient);
        }
    };
    in_stages<Shape::kStages>(static_cast<int>(divide_up(limit, kOther)), load, take);
    sync_threads();  // before the queries' tile takes their gradient

    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kWidth / 8; ++n) SKEIN_UNROLL
    for (int i = 0; i < 4; ++i) query_gradient[strip][n].v[i] *= forward.scale;
    store_sums<kWidth, kWidth, kStrips, Shape::kWarps>(
        query_gradient, tiles.own_left(),
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
    const BlockRef scratch = stream.pool->allocate(static_cast<std::size_t>(2 * rows) * sizeof(float));
    float* const dots = reinterpret_cast<float*>(scratch.get()->data);
    const auto is_aligned = [&](ConstOperand operand, std::int64_t stride) {
        return cuda::heads_are_aligned(forward, operand, stride);
    };
    const bool aligned = cuda::heads_are_aligned(forward) &&
                         is_aligned(args.output_gradient, args.output_gradient_stride) &&
                         is_aligned(args.query_gradient, args.query_gradient_stride) &&
                         is_aligned(args.key_gradient, args.key_gradient_stride) &&
                         is_aligned(args.value_gradient, args.value_gradient_stride);
    const cuda::BackwardArgs all{args, dots, dots + rows, aligned};
    cuda::for_attention_shape("attention_backward", forward, [&]<class T, int kWidth>() {
        using Shape = cuda::BackwardShape<T, kWidth>;
        const std::int64_t dots_tiles = divide_up(forward.query_length, cuda::kDotThreads / (kWidth / 8));
        cuda::launch<cuda::attention_dots_kernel<T, kWidth>>({dots_tiles * forward.heads * forward.batch, 1},
                                                             cuda::kDotThreads, stream, all);
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
