#include "model/kernels/attention.h"

#include "model/kernels/cuda/attention_tiles.cuh"

namespace skein::kernels::cuda {

/// A block takes kQueries queries, and kKeys keys at a time.
template <class T, int kWidth>
struct ForwardShape {
    static constexpr bool kNarrow = sizeof(T) == 2;
    static constexpr int kWarps = 4, kThreads = kWarps * kWarp;
    static constexpr int kStrips = kNarrow && kWidth <= 64 ? 2 : 1;  // as many as registers take
    static constexpr bool kHeld = kNarrow && kWidth <= 128;          // query fragments
    static constexpr int kQueries = kWarps * kStrips * 16, kKeys = kNarrow && kWidth <= 128 ? 64 : 32;
    static constexpr int kQueryBytes = tile_bytes<T, kWidth>(kQueries);
    static constexpr int kKeyBytes = tile_bytes<T, kWidth>(kKeys);
    static constexpr int kBytes = kQueryBytes + 2 * kKeyBytes + kQueries * kKeys / 8;
    static_assert(kBytes <= kMostDynamicShared);
};

/// The running softmax of the rows lane_row() and lane_row() + 8 of each strip. The sum is this lane's own.
template <int kStrips>
struct Running {
    float largest[kStrips][2], sum[kStrips][2];
};

/// Where products of queries and keys become scores: what they are still to be multiplied by. Minus infinity
/// is what a row does not see; `whole`: the rows see it all.
template <class T, int kStrips, int kCount>
__device__ inline float take_scores(const AttentionArgs& args, const HeadPlace& place, int query, int key,
                                    bool whole, Sums (&scores)[kStrips][kCount]) {
    float scale = args.scale * kScoreUnit<T>;
    const auto for_each = [&](const auto& body) {  // body(score, query, key)
        SKEIN_UNROLL
        for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
        for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
        for (int i = 0; i < 4; ++i)
            body(scores[strip][n].v[i], query + strip * 16 + i / 2 * 8, key + n * 8 + i % 2);
    };
    if (args.bias || !(scale > 0.0f)) {  // otherwise the largest product has the largest score
        for_each([&](float& score, int, int) { score *= scale; });
        scale = 1.0f;
    }
    if (args.bias)
        for_each([&](float& score, int row, int column) {
            if (column < place.visible(row))
                score = fmaf(args.bias[place.bias_at(args, row) + column], kScoreUnit<T>, score);
        });
    if (!whole)
        for_each([&](float& score, int row, int column) {
            score = column < place.visible(row) ? score : kNothing;
        });
    return scale;
}

/// Takes a tile's scores · scale into the running softmax: they become e^(score - largest), and what was
/// summed before is scaled to the new largest.
template <class T, int kStrips, int kCount, int kOut>
__device__ inline void take_softmax(Sums (&scores)[kStrips][kCount], float scale, Running<kStrips>& rows,
                                    Sums (&sums)[kStrips][kOut]) {
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h) {
        float largest = kNothing;
        SKEIN_UNROLL
        for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
        for (int i = 0; i < 2; ++i) largest = fmaxf(largest, scores[strip][n].v[2 * h + i]);
        SKEIN_UNROLL
        for (int lanes = 1; lanes < 4; lanes *= 2) largest = fmaxf(largest, shuffle_xor(largest, lanes));
        const float before = rows.largest[strip][h];
        largest *= scale;
        if (before > largest) largest = before;
        const float shift = largest == kNothing ? 0.0f : largest;
        const float factor = power_of<T>(before - shift);
        float sum = rows.sum[strip][h] * factor;
        SKEIN_UNROLL
        for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
        for (int i = 0; i < 2; ++i) {
            float& score = scores[strip][n].v[2 * h + i];
            score = power_of<T>(fmaf(score, scale, -shift));
            sum += score;
        }
        rows.largest[strip][h] = largest;
        rows.sum[strip][h] = sum;
        SKEIN_UNROLL
        for (int n = 0; n < kOut; ++n) SKEIN_UNROLL
        for (int i = 0; i < 2; ++i) sums[strip][n].v[2 * h + i] *= factor;
    }
}

/// Zeros the probabilities that are dropped; `row` is the lane's first in the block's tile.
template <int kKeys, int kStrips>
__device__ inline void drop(const std::uint8_t* kept, int row, Sums (&scores)[kStrips][kKeys / 8]) {
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kKeys / 8; ++n) SKEIN_UNROLL
    for (int i = 0; i < 4; ++i) {
        const unsigned bits = kept[(row + strip * 16 + i / 2 * 8) * (kKeys / 8) + n];
        if ((bits >> (lane_column() + i % 2) & 1) == 0) scores[strip][n].v[i] = 0.0f;
    }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(128) attention_kernel(AttentionArgs args, bool aligned) {
    using Shape = ForwardShape<T, kWidth>;
    constexpr int kStrips = Shape::kStrips, kKeys = Shape::kKeys, kStride = kTileStride<T, kWidth>;
    static_assert(Shape::kThreads == 128);
    T* const queries = reinterpret_cast<T*>(dynamic_shared());
    T* const keys = reinterpret_cast<T*>(dynamic_shared() + Shape::kQueryBytes);
    T* const values = reinterpret_cast<T*>(dynamic_shared() + Shape::kQueryBytes + Shape::kKeyBytes);
    auto* const kept =
        reinterpret_cast<std::uint8_t*>(dynamic_shared() + Shape::kQueryBytes + 2 * Shape::kKeyBytes);

    // the tiles of a head one after the other, so that they find its keys in the cache, the longest first
    const std::int64_t tiles = divide_up(args.query_length, Shape::kQueries);
    const Divided block = uniform(divide(block_index(), tiles)),
                  pair = uniform(divide(block.quotient, args.heads));
    const HeadPlace place(args, pair.quotient, pair.remainder);
    const int first = static_cast<int>(tiles - 1 - block.remainder) * Shape::kQueries;
    const int own = first + uniform(thread_index() / kWarp) * kStrips * 16;  // the warp's first query

    const auto query_source = turned(
        args, query_rows<T>(args, place, args.query.data, args.query_stride, aligned), args.query_offset);
    TileStream<kWidth, kKeys, Shape::kThreads, T> key_tiles(
        turned(args, key_rows<T>(args, place, args.key.data, args.key_stride, aligned), 0), 0);
    TileStream<kWidth, kKeys, Shape::kThreads, T> value_tiles(
        key_rows<T>(args, place, args.value.data, args.value_stride, aligned), 0);
    const int last = std::min(first + Shape::kQueries, place.queries) - 1;  // before first if there is none
    const int limit = last < first ? 0 : place.visible(last);
    const int own_last = std::min(own + kStrips * 16, place.queries) - 1;
    const int own_limit = own_last < own ? 0 : place.visible(own_last);
    const int own_whole = own_last < own + kStrips * 16 - 1 ? 0 : place.visible(own);  // keys that all see
    const bool drops = args.dropout.threshold != 0;

    load_tile<kWidth, Shape::kQueries, Shape::kThreads>(query_source, first, place.queries, queries);
    if (limit > 0) key_tiles.load(place.keys, keys);
    OwnRows<T, kWidth, kStrips, Shape::kHeld> own_queries(queries + (own - first) * kStride);
    wait_for_copies();
    sync_threads();
    own_queries.hold();

    Running<kStrips> rows;
    Sums output[kStrips][kWidth / 8] = {};
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h) {
        rows.largest[strip][h] = kNothing;
        rows.sum[strip][h] = 0.0f;
    }
    // values come while scores are taken, the next keys while values are summed
    for (int key = 0; key < limit; key += kKeys) {
        if (key > 0) {
            wait_for_copies();
            sync_threads();  // the keys are there, and the readers of the last values through
        }
        value_tiles.load(place.keys, values);
        if (drops) load_kept<Shape::kQueries, kKeys, Shape::kThreads>(args, place, first, key, kept);
        Sums scores[kStrips][kKeys / 8] = {};
        if (key < own_limit) {
            multiply_rows(own_queries, keys, scores);
            const float scale = take_scores<T>(args, place, own + lane_row(), key + lane_column(),
                                               key + kKeys <= own_whole, scores);
            take_softmax<T>(scores, scale, rows, output);
        }
        wait_for_copies();
        sync_threads();  // the values are there, and the readers of the keys through
        if (key + kKeys < limit) key_tiles.load(place.keys, keys);
        if (key < own_limit) {
            if (drops) drop<kKeys>(kept, own - first + lane_row(), scores);
            add_weighted_rows<kWidth>(scores, values, output);
        }
    }
    sync_threads();  // before the queries' tile takes the output

    const float raise = drops ? args.dropout.scale : 1.0f;
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h) {
        float sum = rows.sum[strip][h];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        const float factor = sum == 0.0f ? 0.0f : raise / sum;
        SKEIN_UNROLL
        for (int n = 0; n < kWidth / 8; ++n) SKEIN_UNROLL
        for (int i = 0; i < 2; ++i) output[strip][n].v[2 * h + i] *= factor;
        const int row = own + strip * 16 + h * 8 + lane_row();
        if (args.log_sum_exp && lane_column() == 0 && row < args.query_length)
            args.log_sum_exp[place.statistics(args) + row] =
                rows.largest[strip][h] / kScoreUnit<T> + logf(sum);
    }
    store_sums<kWidth, kWidth, kStrips, Shape::kWarps>(
        output, queries, query_rows<T>(args, place, args.output.data, args.output_stride, aligned), first,
        static_cast<int>(args.query_length), 0);
}

}  // namespace skein::kernels::cuda

namespace skein::kernels {

void attention(CudaStream& stream, const AttentionArgs& args) {
    cuda::for_attention_shape("attention", args, [&]<class T, int kWidth>() {
        using Shape = cuda::ForwardShape<T, kWidth>;
        const std::int64_t tiles = cuda::divide_up(args.query_length, Shape::kQueries);
        cuda::launch_with_shared<cuda::attention_kernel<T, kWidth>>({tiles * args.heads * args.batch, 1},
                                                                    Shape::kThreads, Shape::kBytes, stream,
                                                                    args, cuda::heads_are_aligned(args));
    });
}

}  // namespace skein::kernels
