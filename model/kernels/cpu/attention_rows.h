#pragma once

#include <algorithm>
#include <cstdint>

#include "model/kernels/attention.h"
#include "model/kernels/cpu/attention_tiles.h"
#include "model/kernels/cpu/philox_simd.h"

namespace skein::kernels {

inline constexpr std::int64_t kBlockRows = 64;   ///< rows whose scores are held at a time
inline constexpr std::int64_t kBlockKeys = 128;  ///< and keys
inline constexpr std::int64_t kScoreStride =
    kBlockKeys + 16;  ///< an odd number of cache lines, with room for zeros

/// What one key-value head of one sample attends with: its rows are the queries of all query heads in the
/// group, so that these share packed keys and full tiles. Row r is query r / group of head first_head + r %
/// group; the number of keys that a row sees never falls from a row to the next.
struct AttentionRows {
    const AttentionArgs& args;
    std::int64_t sample, kv_head;
    std::int64_t group = args.heads / args.key_value_heads;
    std::int64_t first_head = kv_head * group;
    std::int64_t keys = length(args.key_length, args.key_lengths);
    std::int64_t queries = length(args.query_length, args.query_lengths);
    std::int64_t count = queries * group;

    // division is slow, and most have no groups
    std::int64_t query(std::int64_t row) const { return group == 1 ? row : row / group; }
    std::int64_t head(std::int64_t row) const { return group == 1 ? first_head : first_head + row % group; }
    std::int64_t position(std::int64_t row) const { return query(row) + args.query_offset; }
    /// Row `row` sees the keys 0 ... visible - 1.
    std::int64_t visible(std::int64_t row) const {
        return args.causal ? std::clamp<std::int64_t>(position(row) + 1, 0, keys) : keys;
    }
    /// The first row that sees `key` (possibly past the last one).
    std::int64_t first_row(std::int64_t key) const {
        return args.causal ? std::max<std::int64_t>(key - args.query_offset, 0) * group : 0;
    }

    /// Where a row starts in a tensor laid out as query.
    std::int64_t at(std::int64_t row, std::int64_t stride) const {
        return (sample * args.query_length + query(row)) * stride + head(row) * args.head_width;
    }
    /// Where a key starts in a tensor laid out as key.
    std::int64_t key_at(std::int64_t key, std::int64_t stride) const {
        return (sample * args.key_length + key) * stride + kv_head * args.head_width;
    }
    /// Where a row's element stands in a [batch, heads, query_length] tensor.
    std::int64_t statistic_at(std::int64_t row) const {
        return (sample * args.heads + head(row)) * args.query_length + query(row);
    }
    /// Where a row starts in a [heads, query_length, key_length] tensor.
    std::int64_t bias_at(std::int64_t row) const {
        return (head(row) * args.query_length + query(row)) * args.key_length;
    }

    void pack_query(std::int64_t row, float* to) const {
        prefetch_row(args.query.f32(), row, args.query_stride);
        const float *cosines = angles(args.rotary_cos, position(row)),
                    *sines = angles(args.rotary_sin, position(row));
        tiles::pack_row(args.query.f32() + at(row, args.query_stride), args.head_width, args.scale, cosines,
                        sines, to);
    }
    /// Packs the keys first ... first + n - 1, turned, and zeros up to a multiple of 16.
    void pack_keys(std::int64_t first, std::int64_t n, float* to) const {
        pack(args.key.f32(), args.key_stride, args.rotary_cos, args.rotary_sin, first, n, to);
    }
    void pack_values(std::int64_t first, std::int64_t n, float* to) const {
        pack(args.value.f32(), args.value_stride, nullptr, nullptr, first, n, to);
    }
    /// Fetches the row that comes some rows after `row` in a tensor laid out as query.
    template <bool kWrite = false>
    void prefetch_row(const float* tensor, std::int64_t row, std::int64_t stride) const {
        tiles::prefetch<kWrite>(tensor + at(std::min(row + tiles::kAhead * group, count - 1), stride),
                                args.head_width);
    }
    /// And likewise the key after `key` of a tensor laid out as key.
    template <bool kWrite = false>
    void prefetch_key(const float* tensor, std::int64_t key, std::int64_t stride) const {
        tiles::prefetch<kWrite>(tensor + key_at(std::min(key + tiles::kAhead, keys - 1), stride),
                                args.head_width);
    }
    const float* angles(const float* table, std::int64_t at_position) const {
        return table ? table + at_position * (args.head_width / 2) : nullptr;
    }
    /// The dropout factors of n keys of one row, and of those after it up to a multiple of 64.
    void keep_mask(std::int64_t row, std::int64_t first_key, std::int64_t n, float* to) const {
        simd::keep_mask(args.dropout, static_cast<std::uint32_t>(args.first_sample + sample),
                        static_cast<std::uint32_t>(position(row)),
                        static_cast<std::uint32_t>(args.first_head + head(row)),
                        static_cast<std::uint32_t>(first_key),
                        (n + simd::kMaskRun - 1) / simd::kMaskRun * simd::kMaskRun, to);
    }

    static constexpr std::int64_t rounded(std::int64_t keys) {
        return (keys + tiles::kColumns - 1) / tiles::kColumns * tiles::kColumns;
    }

  private:
    void pack(const float* tensor, std::int64_t stride, const float* cosines, const float* sines,
              std::int64_t first, std::int64_t n, float* to) const {
        const std::int64_t ld = tiles::padded(args.head_width);
        for (std::int64_t key = first; key < first + n; ++key, to += ld) {
            prefetch_key(tensor, key, stride);
            tiles::pack_row(tensor + key_at(key, stride), args.head_width, 1.0f, angles(cosines, key),
                            angles(sines, key), to);
        }
        std::fill(to, to + (rounded(n) - n) * ld, 0.0f);
    }
    std::int64_t length(std::int64_t padded, const std::int32_t* lengths) const {
        return lengths ? std::clamp<std::int64_t>(lengths[sample], 0, padded) : padded;
    }
};

/// The scores of `count` <= kBlockRows packed queries with the packed panels of a key block: for each tile of
/// rows, the keys that its last row sees. seen[t] is that number of keys, for tile t.
inline void block_products(const float* queries, const float* panels, std::int64_t width, std::int64_t count,
                           const std::int64_t* seen, float* scores) {
    using namespace tiles;
    const std::int64_t ld = padded(width), last = seen[(count - 1) / kRows];
    for (std::int64_t column = 0; column < last; column += kColumns, panels += ld * kColumns)
        for (std::int64_t row = 0, t = 0; row < count; row += kRows, ++t)
            if (seen[t] > column)
                tile_of<false>(std::min(kRows, count - row), queries + row * ld, ld, panels, kColumns, width,
                               scores + row * kScoreStride + column, kScoreStride, false);
}

/// sums[row] (+)= Σ_key weights[row][key] · rows[key], over the keys that the row's tile sees. Rows of tiles
/// that see nothing are left alone.
inline void block_weighted_rows(const float* weights, const float* rows, std::int64_t width,
                                std::int64_t count, const std::int64_t* seen, float* sums, bool add) {
    using namespace tiles;
    const std::int64_t ld = padded(width);
    for (std::int64_t column = 0; column < width; column += kColumns)
        for (std::int64_t row = 0, t = 0; row < count; row += kRows, ++t)
            if (seen[t] > 0)
                tile_of<false>(std::min(kRows, count - row), weights + row * kScoreStride, kScoreStride,
                               rows + column, ld, seen[t], sums + row * ld + column, ld, add);
}

}  // namespace skein::kernels
