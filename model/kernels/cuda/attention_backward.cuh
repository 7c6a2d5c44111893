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
    static constexpr bool kHeld = kNarrow && kWidth <= 64;  // the own tile's fragments
    static constexpr int kOwn = kWarps * kStrips * 16, kOther = kNarrow && kWidth <= 128 ? 64 : 32;
    static constexpr int kPiece = kNarrow ? 32 : 16;
    /// Channels of dK and dV that a block sums: what registers take. Wider heads take several blocks, each
    /// of which takes the scores.
    static constexpr int kOut = kWidth < 128 ? kWidth : 128;

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

/// One product of query and key becomes P · M / raise, and one of output gradient and value dS.
template <class T>
__device__ inline void take_gradient(float& score, float& gradient, float scale, const float* bias, bool seen,
                                     bool kept, float raise, float log_sum_exp, float dot) {
    float probability = 0.0f;
    if (seen) {
        float scaled = score * (scale * kScoreUnit<T>);
        if (bias) scaled += *bias * kScoreUnit<T>;
        probability = power_of<T>(scaled - log_sum_exp);
    }
    score = kept ? probability : 0.0f;
    gradient = seen ? probability * ((kept ? gradient * raise : 0.0f) - dot) : 0.0f;
}

/// Products of own queries with a piece of keys, and of own output gradients with their values, become P · M
/// / raise and dS. `row` is the lane's first row in the block's own tile, `column` its first key in the tile
/// of keys, which begins at first_key.
template <class T, int kWidth, int kStrips, int kCount>
__device__ inline void take_query_gradients(const BackwardArgs& args, const HeadPlace& place,
                                            const QueryStatistics (&rows)[kStrips][2],
                                            const std::uint8_t* kept, int first_query, int row, int first_key,
                                            int column, Sums (&scores)[kStrips][kCount],
                                            Sums (&gradients)[kStrips][kCount]) {
    const AttentionArgs& forward = args.of.forward;
    const bool drops = forward.dropout.threshold != 0;
    const float raise = raise_of(forward.dropout);
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h) {
        const QueryStatistics& statistics = rows[strip][h];
        const int own = row + strip * 16 + h * 8;
        const float* bias =
            forward.bias ? forward.bias + place.bias_at(forward, first_query + own) + first_key : nullptr;
        SKEIN_UNROLL
        for (int n = 0; n < kCount; ++n) SKEIN_UNROLL
        for (int i = 0; i < 2; ++i) {
            const int c = column + n * 8 + i;
            const bool keep =
                !drops || (kept[own * (BackwardShape<T, kWidth>::kOther / 8) + c / 8] >> c % 8 & 1) != 0;
            take_gradient<T>(scores[strip][n].v[2 * h + i], gradients[strip][n].v[2 * h + i], forward.scale,
                             bias ? bias + c : nullptr, first_key + c < statistics.visible, keep, raise,
                             statistics.log_sum_exp, statistics.dot);
        }
    }
}

/// The gradient of the bias, for which nothing else is needed than BackwardArgs (attention_bias_gradient.cu).
void attention_bias_gradient(CudaStream& stream, const BackwardArgs& args);

}  // namespace skein::kernels::cuda
