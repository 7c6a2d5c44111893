#include <algorithm>
#include <limits>

#include "model/base/parallel_for.h"
#include "model/kernels/attention.h"
#include "model/kernels/cpu/attention_rows.h"
#include "model/kernels/cpu/fp32_operands.h"

namespace skein::kernels {
namespace {

using simd::F8;
constexpr std::int64_t kTiles = (kBlockRows + tiles::kRows - 1) / tiles::kRows;

/// What backward holds of one key-value head while it goes over its key blocks.
struct HeadScratch {
    float *queries, *output_gradients, *query_gradients;  // [rows, padded width]: packed, packed, summed
    float *output_dots, *log_sum_exp;                     // [rows]
    float *keys, *values, *key_panels, *value_panels;     // one key block
    float *key_gradients, *value_gradients;               // of that block
    float *probabilities, *score_gradients, *mask;        // one block of rows with it

    HeadScratch(tiles::Scratch& scratch, std::int64_t rows, std::int64_t ld) {
        scratch.reserve(3 * rows * ld + 2 * tiles::Scratch::rounded(rows) + 6 * kBlockKeys * ld +
                        (2 * kBlockRows + 1) * kScoreStride);
        for (float** part : {&queries, &output_gradients, &query_gradients}) *part = scratch.take(rows * ld);
        for (float** part : {&output_dots, &log_sum_exp}) *part = scratch.take(rows);
        for (float** part : {&keys, &values, &key_panels, &value_panels, &key_gradients, &value_gradients})
            *part = scratch.take(kBlockKeys * ld);
        for (float** part : {&probabilities, &score_gradients})
            *part = scratch.take(kBlockRows * kScoreStride);
        mask = scratch.take(kScoreStride);
    }
};

/// Row by row: p = e^(score - log_sum_exp), then scores = p · mask and gradients = p · (mask · gradients -
/// output_dot), both followed by zeros up to n + 8 at least; the latter is also added to bias_gradient.
void take_gradients(float* scores, float* gradients, std::int64_t n, const float* bias, const float* mask,
                    float log_sum_exp, float output_dot, float* bias_gradient) {
    const F8 shift = simd::splat(log_sum_exp), dot = simd::splat(output_dot);
    const auto one = [&](F8 score, F8 gradient, const float* factors, F8& weight) {
        const F8 probability = simd::exp(score - shift);
        if (!factors) {
            weight = probability;
            return probability * (gradient - dot);
        }
        const F8 factor = simd::load(factors);
        weight = probability * factor;
        return probability * (factor * gradient - dot);
    };
    std::int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
        F8 score = simd::load(scores + k), weight;
        if (bias) score = score + simd::load(bias + k);
        const F8 gradient = one(score, simd::load(gradients + k), mask ? mask + k : nullptr, weight);
        simd::store(scores + k, weight);
        simd::store(gradients + k, gradient);
        if (bias_gradient) simd::store(bias_gradient + k, simd::load(bias_gradient + k) + gradient);
    }
    if (const std::int64_t rest = n - k; rest > 0) {
        F8 score = simd::load(scores + k), weight;
        if (bias) score = score + simd::load_partial(bias + k, rest);
        const F8 gradient = one(score, simd::load(gradients + k), mask ? mask + k : nullptr, weight);
        simd::store(scores + k, simd::first_lanes(weight, rest));
        simd::store(gradients + k, simd::first_lanes(gradient, rest));
        if (bias_gradient)
            for (std::int64_t i = 0; i < rest; ++i) bias_gradient[k + i] += gradient[i];
        k += 8;
    }
    simd::store(scores + k, simd::splat(0.0f));
    simd::store(gradients + k, simd::splat(0.0f));
}

/// sums[key] += Σ_row weights[row][key] · rows[row], over the rows of the block from the first that sees the
/// tile's first key on.
void block_columns(const AttentionRows& rows, std::int64_t block, std::int64_t count, std::int64_t first_key,
                   std::int64_t n, const float* weights, const float* packed, float* sums) {
    using namespace tiles;
    const std::int64_t width = rows.args.head_width, ld = padded(width);
    for (std::int64_t column = 0; column < width; column += kColumns)
        for (std::int64_t key = 0; key < n; key += kRows) {
            const std::int64_t from = std::max<std::int64_t>(rows.first_row(first_key + key) - block, 0);
            if (from >= count) break;
            tile_of<true>(std::min(kRows, n - key), weights + from * kScoreStride + key, kScoreStride,
                          packed + from * ld + column, ld, count - from, sums + key * ld + column, ld, true);
        }
}

/// Everything about one block of rows and one block of keys.
void backward_block(const AttentionBackwardArgs& args, const AttentionRows& rows, const HeadScratch& at,
                    std::int64_t block, std::int64_t count, std::int64_t key, std::int64_t n) {
    const std::int64_t width = rows.args.head_width, ld = tiles::padded(width);
    std::int64_t seen[kTiles];
    for (std::int64_t row = 0, t = 0; row < count; row += tiles::kRows, ++t)
        seen[t] = std::clamp<std::int64_t>(
            rows.visible(block + std::min(row + tiles::kRows, count) - 1) - key, 0, n);

    // S = Q · Kᵀ, dP = dO · Vᵀ
    block_products(at.queries + block * ld, at.key_panels, width, count, seen, at.probabilities);
    block_products(at.output_gradients + block * ld, at.value_panels, width, count, seen, at.score_gradients);
    for (std::int64_t row = 0; row < count; ++row) {
        if (seen[row / tiles::kRows] == 0) continue;
        const std::int64_t visible = std::clamp<std::int64_t>(rows.visible(block + row) - key, 0, n);
        const std::int64_t bias_at =
            rows.args.bias || args.bias_gradient ? rows.bias_at(block + row) + key : 0;
        if (rows.args.dropout) rows.keep_mask(block + row, key, visible, at.mask);
        take_gradients(at.probabilities + row * kScoreStride, at.score_gradients + row * kScoreStride,
                       visible, rows.args.bias ? rows.args.bias + bias_at : nullptr,
                       rows.args.dropout ? at.mask : nullptr, at.log_sum_exp[block + row],
                       at.output_dots[block + row],
                       args.bias_gradient ? args.bias_gradient + bias_at : nullptr);
    }
    // dV += (P · mask)ᵀ · dO, dK += dSᵀ · Q, dQ += dS · K
    block_columns(rows, block, count, key, n, at.probabilities, at.output_gradients + block * ld,
                  at.value_gradients);
    block_columns(rows, block, count, key, n, at.score_gradients, at.queries + block * ld, at.key_gradients);
    block_weighted_rows(at.score_gradients, at.keys, width, count, seen, at.query_gradients + block * ld,
                        key > 0);
}

/// The gradients of one key-value head of one sample.
void backward_head(const AttentionBackwardArgs& args, const AttentionRows& rows) {
    const AttentionArgs& forward = args.forward;
    const std::int64_t width = forward.head_width, ld = tiles::padded(width);
    thread_local tiles::Scratch scratch;
    const HeadScratch at(scratch, rows.count, ld);

    for (std::int64_t row = 0; row < rows.count; ++row) {
        rows.pack_query(row, at.queries + row * ld);
        rows.prefetch_row(args.output_gradient.f32(), row, args.output_gradient_stride);
        rows.prefetch_row(forward.output.f32(), row, forward.output_stride);
        float* gradient = at.output_gradients + row * ld;
        tiles::pack_row(args.output_gradient.f32() + rows.at(row, args.output_gradient_stride), width, 1.0f,
                        nullptr, nullptr, gradient);
        const float* output = forward.output.f32() + rows.at(row, forward.output_stride);
        F8 dot = simd::splat(0.0f);
        std::int64_t c = 0;
        for (; c + 8 <= width; c += 8) dot = simd::fma(simd::load(gradient + c), simd::load(output + c), dot);
        if (c < width)
            dot = simd::fma(simd::load(gradient + c), simd::load_partial(output + c, width - c), dot);
        at.output_dots[row] = simd::sum(dot);
        // where biases of minus infinity left nothing, the probabilities are zero: e^(score - infinity)
        const float log_sum_exp = forward.log_sum_exp[rows.statistic_at(row)];
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        at.log_sum_exp[row] = log_sum_exp == -kInfinity ? kInfinity : log_sum_exp;
    }
    for (std::int64_t key = 0; key < rows.keys; key += kBlockKeys) {
        const std::int64_t n = std::min(kBlockKeys, rows.keys - key);
        rows.pack_keys(key, n, at.keys);
        rows.pack_values(key, n, at.values);
        tiles::pack_panels(at.keys, n, width, at.key_panels);
        tiles::pack_panels(at.values, n, width, at.value_panels);
        std::fill(at.key_gradients, at.key_gradients + n * ld, 0.0f);
        std::fill(at.value_gradients, at.value_gradients + n * ld, 0.0f);
        for (std::int64_t block = rows.first_row(key) / kBlockRows * kBlockRows; block < rows.count;
             block += kBlockRows)
            backward_block(args, rows, at, block, std::min(kBlockRows, rows.count - block), key, n);
        for (std::int64_t k = 0; k < n; ++k) {
            rows.prefetch_key<true>(args.key_gradient.f32(), key + k, args.key_gradient_stride);
            rows.prefetch_key<true>(args.value_gradient.f32(), key + k, args.value_gradient_stride);
            tiles::unpack_row(at.key_gradients + k * ld, width, 1.0f,
                              rows.angles(forward.rotary_cos, key + k),
                              rows.angles(forward.rotary_sin, key + k),
                              args.key_gradient.f32() + rows.key_at(key + k, args.key_gradient_stride));
            tiles::unpack_row(at.value_gradients + k * ld, width, 1.0f, nullptr, nullptr,
                              args.value_gradient.f32() + rows.key_at(key + k, args.value_gradient_stride));
        }
    }
    for (std::int64_t key = rows.keys; key < forward.key_length; ++key) {  // past the sample's length
        std::fill_n(args.key_gradient.f32() + rows.key_at(key, args.key_gradient_stride), width, 0.0f);
        std::fill_n(args.value_gradient.f32() + rows.key_at(key, args.value_gradient_stride), width, 0.0f);
    }
    for (std::int64_t row = 0; row < forward.query_length * rows.group; ++row) {
        float* gradient = args.query_gradient.f32() + rows.at(row, args.query_gradient_stride);
        if (rows.count > 0)
            rows.prefetch_row<true>(args.query_gradient.f32(), row, args.query_gradient_stride);
        if (row >= rows.count || rows.visible(row) == 0)
            std::fill_n(gradient, width, 0.0f);
        else
            tiles::unpack_row(at.query_gradients + row * ld, width, forward.scale,
                              rows.angles(forward.rotary_cos, rows.position(row)),
                              rows.angles(forward.rotary_sin, rows.position(row)), gradient);
    }
}

void fp32_attention_backward(CpuStream& stream, const AttentionBackwardArgs& args) {
    const AttentionArgs& forward = args.forward;
    if (!args.bias_gradient) {
        parallel_for_uneven(stream.threads, forward.batch * forward.key_value_heads, [&](std::int64_t task) {
            backward_head(
                args, AttentionRows{forward, task / forward.key_value_heads, task % forward.key_value_heads});
        });
        return;
    }
    // the samples of a head one after the other, so that its bias gradient is summed in their order
    parallel_for_uneven(stream.threads, forward.key_value_heads, [&](std::int64_t kv_head) {
        const std::int64_t group = forward.heads / forward.key_value_heads;
        const std::int64_t size = group * forward.query_length * forward.key_length;
        std::fill_n(args.bias_gradient + kv_head * size, size, 0.0f);
        for (std::int64_t sample = 0; sample < forward.batch; ++sample)
            backward_head(args, AttentionRows{forward, sample, kv_head});
    });
}

}  // namespace

void attention_backward(CpuStream& stream, const AttentionBackwardArgs& args) {
    const AttentionArgs& forward = args.forward;
    const std::int64_t queries = forward.batch * forward.query_length,
                       keys = forward.batch * forward.key_length;
    const std::int64_t width = forward.heads * forward.head_width,
                       key_value_width = forward.key_value_heads * forward.head_width;
    Fp32Operands fp32(stream);
    AttentionBackwardArgs widened = args;
    AttentionArgs& read = widened.forward;
    read.query = fp32.read(forward.query, queries, width, read.query_stride);
    read.key = fp32.read(forward.key, keys, key_value_width, read.key_stride);
    read.value = fp32.read(forward.value, keys, key_value_width, read.value_stride);
    read.output = fp32.read_back(forward.output, queries, width, read.output_stride);
    widened.output_gradient = fp32.read(args.output_gradient, queries, width, widened.output_gradient_stride);
    widened.query_gradient = fp32.write(args.query_gradient, queries, width, widened.query_gradient_stride);
    widened.key_gradient = fp32.write(args.key_gradient, keys, key_value_width, widened.key_gradient_stride);
    widened.value_gradient =
        fp32.write(args.value_gradient, keys, key_value_width, widened.value_gradient_stride);
    fp32_attention_backward(stream, widened);
    fp32.finish();
}

}  // namespace skein::kernels
