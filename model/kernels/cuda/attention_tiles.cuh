#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "model/base/error.h"
#include "model/kernels/attention.h"
#include "model/kernels/cuda/attention_heads.cuh"
#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/fragments.cuh"
#include "model/kernels/cuda/math.cuh"

/// What the attention kernels share: tiles of a head's rows in shared memory, and products of tiles. A warp
/// owns strips of 16 rows of the block's own tile and holds their sums.
namespace skein::kernels::cuda {

inline constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// Elements from one row of a tile to the next: an odd multiple of 16 bytes (fragments.cuh).
template <class T, int kWidth>
inline constexpr int kTileStride = kWidth + 16 / static_cast<int>(sizeof(T));

/// Bytes of a tile of `rows`.
template <class T, int kWidth>
constexpr int tile_bytes(int rows) {
    return rows * kTileStride<T, kWidth> * static_cast<int>(sizeof(T));
}

/// Scores are kept in units in which power_of is quick: powers of two by the special function unit in 16 bits
/// (about 2^-22 off), powers of e as the CPU takes them in fp32.
template <class T>
inline constexpr float kScoreUnit = sizeof(T) == 2 ? 1.44269504f : 1.0f;
template <class T>
__device__ inline float power_of(float score) {
    if constexpr (sizeof(T) == 2) {
        return exp2_approximate(score);
    } else {
        return exp_of(score);
    }
}

/// Tiles of kRows rows of one head, one after the other, from the row `first` on.
template <int kWidth, int kRows, int kThreads, class T>
class TileStream {
  public:
    __device__ TileStream(const HeadRows<const T>& from, int first)
        : from_(from),
          first_(first),
          at_(from.data + first * from.stride + (row() * from.stride + column())) {}

    /// Starts to bring the next tile into shared memory, turned by the rows' angles; zeros for rows at and
    /// past `rows` and for channels at and past the width. By the whole block, which sees it after
    /// wait_for_copies() and a barrier. Asynchronous where nothing is turned and all is aligned.
    __device__ void load(int rows, T* tile) {
        if (from_.aligned && !from_.cosines)
            copy(rows, tile);
        else
            turn(rows, tile);
        first_ += kRows;
        at_ += kRows * from_.stride;
    }

  private:
    static constexpr int kEights = kWidth / 8, kStep = kThreads / kEights, kStride = kTileStride<T, kWidth>;
    static_assert(kThreads % kEights == 0 && kRows % kStep == 0);
    // a thread has one column and every kStep-th row, so that what it copies lies at constant distances
    __device__ static int row() { return thread_index() / kEights; }
    __device__ static int column() { return thread_index() % kEights * 8; }

    /// Of rows that do not exist no more than the address is made.
    __device__ void copy(int rows, T* tile) const {
        const int left = column() < from_.width ? rows - first_ - row() : 0;
        const T* at = at_;
        T* const to = tile + row() * kStride + column();
        SKEIN_UNROLL
        for (int done = 0; done < kRows; done += kStep) {
            SKEIN_UNROLL
            for (int e = 0; e < 8; e += Sixteen<T>::kCount)
                copy_async<16>(to + done * kStride + e, at + e, done < left);
            at += kStep * from_.stride;
        }
    }

    /// Whatever else there is.
    __device__ void turn(int rows, T* tile) const {
        const T* at = at_;
        SKEIN_NO_UNROLL
        for (int done = 0; done < kRows; done += kStep) {
            const int row_of_tile = row() + done, c = column();
            const int left = first_ + row_of_tile < rows ? from_.width - c : 0;
            Eight x = load_eight(at, left, from_.aligned);
            if (from_.cosines && left > 0) {
                const std::int64_t angle = (first_ + row_of_tile) * std::int64_t{from_.width / 2} + c / 2;
                SKEIN_UNROLL
                for (int e = 0; e < 8; e += 2) {
                    if (e >= left) break;
                    const float cosine = from_.cosines[angle + e / 2], sine = from_.sines[angle + e / 2];
                    const float even = x.v[e], odd = x.v[e + 1];
                    x.v[e] = even * cosine - odd * sine;
                    x.v[e + 1] = even * sine + odd * cosine;
                }
            }
            store_eight(tile + row_of_tile * kStride + c, x, 8, true);
            at += kStep * from_.stride;
        }
    }

    HeadRows<const T> from_;
    int first_;
    const T* at_;  ///< the thread's first element of the next tile
};

/// One tile: the rows first ... first + kRows - 1, as a stream brings them.
template <int kWidth, int kRows, int kThreads, class T>
__device__ inline void load_tile(const HeadRows<const T>& from, int first, int rows, T* tile) {
    TileStream<kWidth, kRows, kThreads, T>(from, first).load(rows, tile);
}

/// Sums of a warp's strips, turned back by the angles of `to` and rounded, into its rows of a tile that
/// nobody reads any more, and from there, after a barrier, by the whole block into the rows first ... rows -
/// 1 of `to`, its channels from first_channel on.
template <int kWidth, int kOut, int kStrips, int kWarps, class T>
__device__ inline void store_sums(const Sums (&sums)[kStrips][kOut / 8], T* tile, const HeadRows<T>& to,
                                  int first, int rows, int first_channel) {
    constexpr int kStride = kTileStride<T, kWidth>, kEights = kOut / 8;
    const int own = thread_index() / kWarp * kStrips * 16 + lane_row();
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kOut / 8; ++n) SKEIN_UNROLL
    for (int h = 0; h < 2; ++h) {
        const int row = own + strip * 16 + h * 8, c = first_channel + n * 8 + lane_column();
        float x = sums[strip][n].v[2 * h], y = sums[strip][n].v[2 * h + 1];
        if (to.cosines && first + row < rows && c < to.width) {
            const std::int64_t angle = (first + row) * std::int64_t{to.width / 2} + c / 2;
            const float cosine = to.cosines[angle], sine = to.sines[angle], before = x;
            x = x * cosine + y * sine;
            y = y * cosine - before * sine;
        }
        T* at = tile + row * kStride + n * 8 + lane_column();
        at[0] = narrow<T>(x);
        at[1] = narrow<T>(y);
    }
    sync_threads();
    for (int index = thread_index(); index < kWarps * kStrips * 16 * kEights; index += kWarps * kWarp) {
        const int row = index / kEights, c = index % kEights * 8, left = to.width - first_channel - c;
        if (first + row >= rows) break;
        const T* from = tile + row * kStride + c;
        T* at = to.data + (first + row) * to.stride + first_channel + c;
        if (to.aligned && left >= 8) {
            SKEIN_UNROLL
            for (int e = 0; e < 8; e += Sixteen<T>::kCount) store_sixteen(at + e, load_sixteen(from + e));
        } else {
            for (int e = 0; e < 8 && e < left; ++e) at[e] = from[e];
        }
    }
}

/// Which probabilities dropout keeps, a bit each: kept[q · kKeys / 8 + j] has the keys first_key + 8j ... + 7
/// of query first_query + q, the lowest bit first. By the whole block, whose next barrier shows them.
template <int kQueries, int kKeys, int kThreads>
__device__ inline void load_kept(const AttentionArgs& args, const HeadPlace& place, int first_query,
                                 int first_key, std::uint8_t* kept) {
    constexpr int kGroups = kKeys / 8;
    for (int index = thread_index(); index < kQueries * kGroups; index += kThreads) {
        const int query = first_query + index / kGroups, group = first_key / 8 + index % kGroups;
        const PhiloxBlock words =
            philox({static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(query + args.query_offset),
                    static_cast<std::uint32_t>(args.first_sample + place.sample),
                    static_cast<std::uint32_t>(args.first_head + place.head)},
                   args.dropout.key);
        unsigned bits = 0;
        SKEIN_UNROLL
        for (unsigned i = 0; i < 8; ++i) {
            const std::uint32_t half = i % 2 == 0 ? words[i / 2] & 0xFFFFu : words[i / 2] >> 16;
            bits |= (half >= args.dropout.threshold ? 1u : 0u) << i;
        }
        kept[index] = static_cast<std::uint8_t>(bits);
    }
}

/// A warp's rows of a tile as left operands: loaded once and held in registers, or each time anew.
template <class T, int kWidth, int kStrips, bool kHeld>
class OwnRows {
  public:
    /// `tile` from the warp's first row on.
    __device__ explicit OwnRows(const T* tile) : tile_(tile) {}
    /// After the barrier that shows the tile.
    __device__ void hold() {
        if constexpr (kHeld) {
            SKEIN_UNROLL
            for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
            for (int c = 0; c < kWidth / 16; ++c) held_[strip][c] = load(strip, c);
        }
    }
    /// The channels 16c ... 16c + 15.
    __device__ RowFragment<T> at(int strip, int c) const {
        if constexpr (kHeld) {
            return held_[strip][c];
        } else {
            return load(strip, c);
        }
    }

  private:
    __device__ RowFragment<T> load(int strip, int c) const {
        return load_rows(tile_ + strip * 16 * kTileStride<T, kWidth> + c * 16, kTileStride<T, kWidth>);
    }
    const T* tile_;
    RowFragment<T> held_[kHeld ? kStrips : 1][kHeld ? kWidth / 16 : 1];
};

/// sums = rows · columnsᵀ, columns being kColumns rows of a tile.
template <class T, int kWidth, int kStrips, bool kHeld, int kCount>
__device__ inline void multiply_rows(const OwnRows<T, kWidth, kStrips, kHeld>& rows, const T* columns,
                                     Sums (&sums)[kStrips][kCount]) {
    constexpr int kStride = kTileStride<T, kWidth>;
    SKEIN_UNROLL
    for (int strip = 0; strip < kStrips; ++strip) SKEIN_UNROLL
    for (int n = 0; n < kCount; ++n) sums[strip][n] = {};
    const auto multiply_chunk = [&](int c) {
        RowFragment<T> a[kStrips];
        SKEIN_UNROLL
        for (int strip = 0; strip < kStrips; ++strip) a[strip] = rows.at(strip, c);
        SKEIN_UNROLL
        for (int n = 0; n < kCount; n += 2) {
            ColumnFragment<T> b[2];
            load_columns(columns + n * 8 * kStride + c * 16, kStride, b);
            SKEIN_UNROLL
            for (int i = 0; i < 2; ++i) SKEIN_UNROLL
            for (int strip = 0; strip < kStrips; ++strip) multiply(sums[strip][n + i], a[strip], b[i]);
        }
    };
    if constexpr (sizeof(T) == 2) {
        SKEIN_UNROLL
        for (int c = 0; c < kWidth / 16; ++c) multiply_chunk(c);
    } else {  // hundreds of instructions each
        SKEIN_NO_UNROLL
        for (int c = 0; c < kWidth / 16; ++c) multiply_chunk(c);
    }
}

/// sums += weights · rows, rows being 8 · kCount rows of a tile, from some channel on.
template <int kWidth, class T, int kStrips, int kCount, int kOut>
__device__ inline void add_weighted_rows(const Sums (&weights)[kStrips][kCount], const T* rows,
                                         Sums (&sums)[kStrips][kOut]) {
    constexpr int kStride = kTileStride<T, kWidth>;
    SKEIN_UNROLL
    for (int k = 0; k < kCount; k += 2) {
        RowFragment<T> a[kStrips];
        SKEIN_UNROLL
        for (int strip = 0; strip < kStrips; ++strip)
            a[strip] = rows_of_sums<T>(weights[strip][k], weights[strip][k + 1]);
        SKEIN_UNROLL
        for (int n = 0; n < kOut; n += 2) {
            ColumnFragment<T> b[2];
            load_columns_of_rows(rows + k * 8 * kStride + n * 8, kStride, b);
            SKEIN_UNROLL
            for (int i = 0; i < 2; ++i) SKEIN_UNROLL
            for (int strip = 0; strip < kStrips; ++strip) multiply(sums[strip][n + i], a[strip], b[i]);
        }
    }
}

/// Calls body.template operator()<T, kWidth>() for the element type and the least of the widths that the
/// kernels are built for. Throws ShapeError for what attention.h does not promise.
template <class Body>
void for_attention_shape(const char* operation, const AttentionArgs& args, const Body& body) {
    constexpr std::int64_t kWidest = 256, kFarthest = std::int64_t{1} << 30;
    const auto want = [&](bool fine, const char* what, std::int64_t found, std::int64_t most) {
        if (!fine) throw ShapeError(text(operation, ": ", what, " is ", found, ", wanted at most ", most));
    };
    want(args.head_width <= kWidest, "head width", args.head_width, kWidest);
    want(args.query_length <= kFarthest, "query length", args.query_length, kFarthest);
    want(args.key_length <= kFarthest, "key length", args.key_length, kFarthest);
    want(args.query_offset <= kFarthest && args.query_offset >= -kFarthest, "query offset", args.query_offset,
         kFarthest);
    const auto with_type = [&]<class T>() {
        if (args.head_width <= 32) return body.template operator()<T, 32>();
        if (args.head_width <= 64) return body.template operator()<T, 64>();
        if (args.head_width <= 128) return body.template operator()<T, 128>();
        body.template operator()<T, 256>();
    };
    if (args.query.dtype == DType::bf16) return with_type.template operator()<Bf16>();
    if (args.query.dtype == DType::f16) return with_type.template operator()<F16>();
    with_type.template operator()<float>();
}

/// Whether all of these can be accessed 16 bytes at a time, given their strides.
inline bool heads_are_aligned(const AttentionArgs& args, ConstOperand operand, std::int64_t stride) {
    return args.head_width % 8 == 0 && rows_are_aligned(stride, static_cast<const std::byte*>(operand.data));
}
inline bool heads_are_aligned(const AttentionArgs& args) {
    return heads_are_aligned(args, args.query, args.query_stride) &&
           heads_are_aligned(args, args.key, args.key_stride) &&
           heads_are_aligned(args, args.value, args.value_stride) &&
           heads_are_aligned(args, args.output, args.output_stride);
}

}  // namespace skein::kernels::cuda
