#include "model/kernels/attention.h"

#include <cmath>
#include <limits>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/attention_rows.h"
#include "model/kernels/cpu/fp32_operands.h"

namespace skein::kernels {
namespace {

using simd::F8;
constexpr std::int64_t kTaskRows = 256;  ///< rows that one task packs keys for
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The running softmax of one row.
struct Running {
    float largest;  ///< score so far
    float sum;      ///< of e^(score - largest)
};

/// Takes n more scores into a row's softmax: scores becomes e^(score - largest) · mask (null: 1), followed by
/// zeros up to n + 8 at least; what was summed into `output` before is scaled to the new largest.
void take_scores(float* scores, std::int64_t n, const float* bias, const float* mask, Running& row,
                 float* output, std::int64_t width) {
    F8 largest = simd::splat(-kInfinity);
    const std::int64_t whole = n / 8 * 8, rest = n - whole;
    for (std::int64_t k = 0; k < whole; k += 8) {
        F8 score = simd::load(scores + k);
        if (bias) simd::store(scores + k, score = score + simd::load(bias + k));
        largest = simd::max(largest, score);
    }
    if (rest > 0) {
        F8 score = simd::load(scores + whole);
        if (bias) score = score + simd::load_partial(bias + whole, rest);
        simd::store(scores + whole, score = simd::first_lanes(score, rest, -kInfinity));
        largest = simd::max(largest, score);
    }
    const float before = row.largest;
    row.largest = std::max(before, simd::max(largest));
    const F8 shift = simd::splat(row.largest == -kInfinity ? 0.0f : row.largest);

    F8 sum = simd::splat(0.0f);
    for (std::int64_t k = 0; k < n; k += 8) {
        F8 probability = simd::exp(simd::load(scores + k) - shift);
        sum += probability;
        if (mask) probability *= simd::load(mask + k);
        simd::store(scores + k, probability);
    }
    simd::store(scores + (n + 7) / 8 * 8, simd::splat(0.0f));

    if (before == row.largest || before == -kInfinity) {  // nothing to rescale
        row.sum += simd::sum(sum);
        return;
    }
    const float factor = simd::exp(simd::splat(before) - shift)[0];
    row.sum = row.sum * factor + simd::sum(sum);
    for (std::int64_t c = 0; c < width; c += 8)
        simd::store(output + c, simd::load(output + c) * simd::splat(factor));
}

/// Output and log-sum-exp of the rows first ... last - 1.
void attend(const AttentionRows& rows, std::int64_t first, std::int64_t last) {
    const AttentionArgs& args = rows.args;
    const std::int64_t width = args.head_width, ld = tiles::padded(width);
    thread_local tiles::Scratch scratch;
    scratch.reserve((2 * kTaskRows + 3 * kBlockKeys) * ld + kBlockRows * kScoreStride + kScoreStride);
    float* queries = scratch.take(kTaskRows * ld);
    float* sums = scratch.take(kTaskRows * ld);
    float* keys = scratch.take(kBlockKeys * ld);
    float* panels = scratch.take(kBlockKeys * ld);
    float* values = scratch.take(kBlockKeys * ld);
    float* scores = scratch.take(kBlockRows * kScoreStride);
    float* mask = scratch.take(kScoreStride);
    Running running[kTaskRows];
    std::int64_t seen[(kBlockRows + tiles::kRows - 1) / tiles::kRows];

    for (std::int64_t row = first; row < last; ++row) {
        rows.pack_query(row, queries + (row - first) * ld);
        running[row - first] = {-kInfinity, 0.0f};
    }
    for (std::int64_t key = 0; key < rows.visible(last - 1); key += kBlockKeys) {
        const std::int64_t n = std::min(kBlockKeys, rows.visible(last - 1) - key);
        rows.pack_keys(key, n, keys);
        tiles::pack_panels(keys, n, width, panels);
        rows.pack_values(key, n, values);
        for (std::int64_t block = first; block < last; block += kBlockRows) {
            const std::int64_t count = std::min(kBlockRows, last - block), at = (block - first) * ld;
            for (std::int64_t row = 0, t = 0; row < count; row += tiles::kRows, ++t)
                seen[t] = std::clamp<std::int64_t>(
                    rows.visible(block + std::min(row + tiles::kRows, count) - 1) - key, 0, n);
            block_products(queries + at, panels, width, count, seen, scores);
            for (std::int64_t row = 0; row < count; ++row) {
                if (seen[row / tiles::kRows] == 0) continue;
                const std::int64_t visible = std::clamp<std::int64_t>(rows.visible(block + row) - key, 0, n);
                if (args.dropout) rows.keep_mask(block + row, key, visible, mask);
                take_scores(scores + row * kScoreStride, visible,
                            args.bias ? args.bias + rows.bias_at(block + row) + key : nullptr,
                            args.dropout ? mask : nullptr, running[block + row - first], sums + at + row * ld,
                            width);
            }
            block_weighted_rows(scores, values, width, count, seen, sums + at, key > 0);
        }
    }
    for (std::int64_t row = first; row < last; ++row) {
        const Running& end = running[row - first];
        rows.prefetch_row<true>(args.output.f32(), row, args.output_stride);
        float* output = args.output.f32() + rows.at(row, args.output_stride);
        if (rows.visible(row) == 0 || end.sum == 0.0f)
            std::fill(output, output + width, 0.0f);
        else
            tiles::unpack_row(sums + (row - first) * ld, width, 1.0f / end.sum, nullptr, nullptr, output);
        if (args.log_sum_exp) args.log_sum_exp[rows.statistic_at(row)] = end.largest + std::log(end.sum);
    }
}

void fp32_attention(CpuStream& stream, const AttentionArgs& args) {
    const std::int64_t all_rows = args.query_length * (args.heads / args.key_value_heads);
    const std::int64_t pairs = args.batch * args.key_value_heads,
                       parts = (all_rows + kTaskRows - 1) / kTaskRows;
    parallel_for_uneven(stream.threads, pairs * parts, [&](std::int64_t task) {
        const std::int64_t part = parts - 1 - task / pairs,
                           pair = task % pairs;  // the longest first, if causal
        const AttentionRows rows{args, pair / args.key_value_heads, pair % args.key_value_heads};
        const std::int64_t first = part * kTaskRows, end = std::min(all_rows, first + kTaskRows);
        if (first < rows.count) attend(rows, first, std::min(end, rows.count));
        for (std::int64_t row = std::max(first, rows.count); row < end; ++row) {  // past the sample's length
            float* output = args.output.f32() + rows.at(row, args.output_stride);
            std::fill(output, output + args.head_width, 0.0f);
            if (args.log_sum_exp) args.log_sum_exp[rows.statistic_at(row)] = -kInfinity;
        }
    });
}

}  // namespace

void attention(CpuStream& stream, const AttentionArgs& args) {
    const std::int64_t queries = args.batch * args.query_length, keys = args.batch * args.key_length;
    const std::int64_t width = args.heads * args.head_width,
                       key_value_width = args.key_value_heads * args.head_width;
    Fp32Operands fp32(stream);
    AttentionArgs widened = args;
    widened.query = fp32.read(args.query, queries, width, widened.query_stride);
    widened.key = fp32.read(args.key, keys, key_value_width, widened.key_stride);
    widened.value = fp32.read(args.value, keys, key_value_width, widened.value_stride);
    widened.output = fp32.write(args.output, queries, width, widened.output_stride);
    fp32_attention(stream, widened);
    fp32.finish();
}

}  // namespace skein::kernels
