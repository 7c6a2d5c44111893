#pragma once

#include "model/kernels/cuda/attention_tiles.cuh"

/// What the kernels of attention's backward share. With P = e^(S - log_sum_exp), M the dropout factors and D
/// the rows' sums of dO · O:
///   dV = (P · M)ᵀ · dO,   dP = dO · Vᵀ,   dS = P · (M · dP - D),   dQ = scale · dS · K,   dK = scale · dSᵀ ·
///   Q
/// A block owns a tile of keys or of queries and goes over the other in tiles; scores are taken anew from
/// queries and keys, kPiece of the other at a time.
namespace skein::kernels::cuda {

template <class T, int kWidth>
struct BackwardShape {
    static constexpr bool kNarrow = sizeof(T) == 2;
    static constexpr int kWarps = !kNarrow && kWidth > 128 ? 2 : 4, kThreads = kWarps * kWarp;
    static constexpr int kStrips = 1;
    /// The own tile's fragments, where registers take them beside the sums: two for keys, one for queries.
    static constexpr bool kKeysHeld = kNarrow && kWidth <= 64, kQueriesHeld = kNarrow && kWidth <= 128;
    static constexpr int kOwn = kWarps * kStrips * 16, kOther = kNarrow && kWidth <= 128 ? 64 : 32;
    static constexpr int kPiece = kNarrow ? 32 : 16;
    /// Channels of dK and dV that a block sums: what registers take. Wider heads take several blocks, each
    /// of which takes the scores.
    static constexpr int kOut = kWidth < 128 ? kWidth : 128;

    /// Blocks that a multiprocessor is to hold at once: their warps hide each other's latencies.
    static constexpr int kBlocks = kNarrow && kWidth <= 64 ? 3 : 1;

    /// Tiles of the other side in shared memory: one comes while the one before it is worked on.
    static constexpr int kStages = kNarrow ? 2 : 1;
    static constexpr int kOwnBytes = tile_bytes<T, kWidth>(kOwn);
    static constexpr int kOtherBytes = tile_bytes<T, kWidth>(kOther);
    static constexpr int kStageBytes = 2 * kOtherBytes + kOther * 8 + kOwn * kOther / 8;
    static constexpr int kBytes = 2 * kOwnBytes + kStages * kStageBytes;
    static_assert(kBytes <= kMostDynamicShared);
};

/// What backward reads and needs beside the tensors.
struct BackwardArgs {
    AttentionBackwardArgs of;
    float* dots;         ///< [batch, heads, query_length]: D
    float* log_sum_exp;  ///< likewise, in units of kScoreUnit; plus infinity where nothing is seen
    bool aligned;
};

/// One query's share in the gradients of its scores.
struct QueryStatistics {
    float log_sum_exp, dot;
    int visible;
};
__device__ inline QueryStatistics query_statistics(const BackwardArgs& args, const HeadPlace& place,
                                                   int query) {
    if (query >= place.queries) return {-kNothing, 0.0f, 0};
    const std::int64_t at = place.statistics(args.of.forward) + query;
    return {args.log_sum_exp[at], args.dots[at], place.visible(query)};
}

/// The block's shared memory.
template <class T, int kWidth>
struct BackwardTiles {
    using Shape = BackwardShape<T, kWidth>;
    /// What comes and goes: keys and values, or queries and output gradients with their statistics.
    struct Stage {
        T *left, *right;
        float *log_sum_exp, *dots;
        std::uint8_t* kept;
    };
    __device__ T* own_left() const { return reinterpret_cast<T*>(dynamic_shared()); }
    __device__ T* own_right() const { return reinterpret_cast<T*>(dynamic_shared() + Shape::kOwnBytes); }
    __device__ Stage stage(int step) const {
        std::byte* at = dynamic_shared() + 2 * Shape::kOwnBytes + step % Shape::kStages * Shape::kStageBytes;
        std::byte* floats = at + 2 * Shape::kOtherBytes;
        return {reinterpret_cast<T*>(at), reinterpret_cast<T*>(at + Shape::kOtherBytes),
                reinterpret_cast<float*>(floats), reinterpret_cast<float*>(floats + Shape::kOther * 4),
                reinterpret_cast<std::uint8_t*>(floats + Shape::kOther * 8)};
    }
};

/// load(step) starts to bring what take(step) works on, for the steps 0 ... count - 1: one ahead where there
/// are two stages. By the whole block.
template <int kStages, class Load, class Take>
__device__ inline void in_stages(int count, const Load& load, const Take& take) {
    SKEIN_NO_UNROLL
    for (int step = 1 - kStages; step < count; ++step) {
        const int next = step + kStages - 1;
        if constexpr (kStages == 1) {
            if (step > 0) sync_threads();  // the readers of the last one are through
            load(next);
        }
        if (step >= 0) {
            wait_for_copies();
            sync_threads();  // this one is there, and the readers of the last one are through
        }
        if constexpr (kStages == 2) {
            if (next < count) load(next);
        }
        if (step >= 0) take(step);
    }
}

/// The factor of what dropout keeps.
__device__ inline float raise_of(const Dropout& dropout) {
    return dropout.threshold != 0 ? dropout.scale : 1.0f;
}

/// A lane's part of a piece of scores whose rows are queries and whose columns are keys. Rows and columns are
/// counted from the lane's first.
template <class Shape>
struct PieceOfQueries {
    const AttentionArgs& args;
    const HeadPlace& place;
    const QueryStatistics (&statistics)[Shape::kStrips][2];
    const std::uint8_t* kept;  ///< of the lane's first row, from the piece's first column on
    int query, key;            ///< the lane's first row and column

    __device__ const QueryStatistics& of(int row) const { return statistics[row / 16][row / 8 % 2]; }
    __device__ bool sees(int row, int column) const { return key + column < of(row).visible; }
    __device__ bool keeps(int row, int column) const {
        return (kept[row * (Shape::kOther / 8) + column / 8] >> (lane_column() + column % 8) & 1) != 0;
    }
    __device__ float bias(int row, int column) const {
        return args.bias[place.bias_at(args, query + row) + key + column];
    }
    __device__ float log_sum_exp(int row, int) const { return of(row).log_sum_exp; }
    __device__ float dot(int row, int) const { return of(row).dot; }
};

/// Products of queries and keys, and of their output gradients and values, become P · M / raise and dS.
/// `whole`: everything in the warp's piece is seen. What some launches need only is in loops of its own, and
/// loops have no branches: an element's latency then hides behind the others'.
template <class T, class Piece, int kStrips, int kCount>
__device__ inline void take_gradients(const AttentionArgs& forward, const Piece& piece, bool whole,
                                      Sums (&scores)[kStrips][kCount], Sums (&gradients)[kStrips][kCount]) {
    const auto for_each = [&](const auto& body) {  // body(score, gradient, row, column)
        SKEIN_UNROLL
        for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
        for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
        for (int i = 0; i < 4; ++i)
            body(scores[strip][n].v[i], gradients[strip][n].v[i], strip * 16 + i / 2 * 8, n * 8 + i % 2);
    };
    const bool drops = forward.dropout.threshold != 0;
    const float raise = raise_of(forward.dropout);
    float scale = forward.scale * kScoreUnit<T>;
    if (forward.bias) {
        for_each([&](float& score, float&, int row, int column) {
            score *= scale;
            if (piece.sees(row, column)) score += piece.bias(row, column) * kScoreUnit<T>;
        });
        scale = 1.0f;
    }
    for_each([&](float& score, float&, int row, int column) {
        score = power_of<T>(score * scale - piece.log_sum_exp(row, column));
    });
    if (!whole)
        for_each([&](float& score, float& gradient, int row, int column) {
            const bool seen = piece.sees(row, column);
            score = seen ? score : 0.0f;
            gradient = seen ? gradient : 0.0f;
        });
    if (drops)
        for_each([&](float&, float& gradient, int row, int column) {
            gradient = piece.keeps(row, column) ? gradient * raise : 0.0f;
        });
    for_each([&](float& score, float& gradient, int row, int column) {
        gradient = score * (gradient - piece.dot(row, column));
    });
    if (drops)
        for_each([&](float& score, float&, int row, int column) {
            score = piece.keeps(row, column) ? score : 0.0f;
        });
}

/// The gradient of the bias, for which nothing else is needed than BackwardArgs (attention_bias_gradient.cu).
void attention_bias_gradient(CudaStream& stream, const BackwardArgs& args);

}  // namespace skein::kernels::cuda
