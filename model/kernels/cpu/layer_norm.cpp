#include "model/kernels/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/row_mask.h"
#include "model/kernels/cpu/simd.h"

namespace skein::kernels {
namespace {

using namespace simd;

constexpr std::int64_t kRowBlock = 32;

void add_residual(const LayerNormArgs& args, std::int64_t r) {
    const float* x = args.x.f32() + r * args.width;
    const float* delta = args.delta.f32() + r * args.width;
    float* sum = args.sum.f32() + r * args.width;
    if (args.dropout) {
        RowMask mask(args.dropout, args.place, r);
        for_lanes(args.width, [&](std::int64_t c, auto lanes) {
            store(sum + c, fma(load(delta + c, lanes), mask.at(c), load(x + c, lanes)), lanes);
        });
    } else {
        for_lanes(args.width, [&](std::int64_t c, auto lanes) {
            store(sum + c, load(x + c, lanes) + load(delta + c, lanes), lanes);
        });
    }
}

void normalize_row(const LayerNormArgs& args, std::int64_t r) {
    const auto width = static_cast<float>(args.width);
    const float* x = (args.delta ? args.sum.f32() : args.x.f32()) + r * args.width;
    F8 total = splat(0.0f);
    for_lanes(args.width, [&](std::int64_t c, auto lanes) { total += load(x + c, lanes); });
    const float mean = sum(total) / width;
    F8 squares = splat(0.0f);
    for_lanes(args.width, [&](std::int64_t c, auto lanes) {
        const F8 centred = load(x + c, lanes, mean) - splat(mean);
        squares = fma(centred, centred, squares);
    });
    const float rstd = 1.0f / std::sqrt(sum(squares) / width + args.epsilon);
    float* y = args.y.f32() + r * args.width;
    for_lanes(args.width, [&](std::int64_t c, auto lanes) {
        const F8 normed = (load(x + c, lanes) - splat(mean)) * splat(rstd);
        const F8 shift = args.beta ? load(args.beta + c, lanes) : splat(0.0f);
        store(y + c, fma(normed, load(args.gamma + c, lanes), shift), lanes);
    });
    if (args.mean) args.mean[r] = mean;
    if (args.rstd) args.rstd[r] = rstd;
}

// One row of dsum, and its share of dgamma and dbeta added to this block's sums.
void backward_row(const LayerNormBackwardArgs& args, std::int64_t r, float* gamma_sums, float* beta_sums) {
    const auto width = static_cast<float>(args.width);
    const float* x = args.sum.f32() + r * args.width;
    const float* dy = args.dy.f32() + r * args.width;
    const F8 mean = splat(args.mean[r]), rstd = splat(args.rstd[r]);
    F8 g_total = splat(0.0f), gn_total = splat(0.0f);
    for_lanes(args.width, [&](std::int64_t c, auto lanes) {
        const F8 gradient = load(dy + c, lanes);
        const F8 n = (load(x + c, lanes) - mean) * rstd;
        const F8 g = gradient * load(args.gamma + c, lanes);
        g_total += g;
        gn_total = fma(g, n, gn_total);
        store(gamma_sums + c, fma(gradient, n, load(gamma_sums + c, lanes)), lanes);
        store(beta_sums + c, load(beta_sums + c, lanes) + gradient, lanes);
    });
    const F8 g_mean = splat(sum(g_total) / width), gn_mean = splat(sum(gn_total) / width);
    float* dx = args.dsum.f32() + r * args.width;
    for_lanes(args.width, [&](std::int64_t c, auto lanes) {
        const F8 n = (load(x + c, lanes) - mean) * rstd;
        const F8 g = load(dy + c, lanes) * load(args.gamma + c, lanes);
        F8 out = rstd * (g - g_mean - n * gn_mean);
        if (args.accumulate_sum) out += load(dx + c, lanes);
        store(dx + c, out, lanes);
    });
}

void fp32_layer_norm(CpuStream& stream, const LayerNormArgs& args) {
    parallel_blocks(stream.threads, args.rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            if (args.delta) add_residual(args, r);
            normalize_row(args, r);
        }
    });
}

void fp32_layer_norm_backward(CpuStream& stream, const LayerNormBackwardArgs& args) {
    const std::int64_t blocks = (args.rows + kRowBlock - 1) / kRowBlock;
    const BlockRef scratch =
        stream.pool->allocate(static_cast<std::size_t>(blocks * 2 * args.width) * sizeof(float));
    auto* parts = reinterpret_cast<float*>(scratch.get()->data);
    parallel_for(stream.threads, blocks, [&](std::int64_t block) {
        float* gamma_sums = parts + block * 2 * args.width;
        float* beta_sums = gamma_sums + args.width;
        std::fill_n(gamma_sums, 2 * args.width, 0.0f);
        const std::int64_t begin = block * kRowBlock;
        for (std::int64_t r = begin; r < std::min(args.rows, begin + kRowBlock); ++r)
            backward_row(args, r, gamma_sums, beta_sums);
    });
    parallel_blocks(stream.threads, args.width, 64, [&](std::int64_t begin, std::int64_t end) {
        const auto add_up = [&](std::int64_t offset, float* to, bool accumulate) {
            for_lanes(end - begin, [&](std::int64_t i, auto lanes) {
                F8 total = splat(0.0f);
                for (std::int64_t block = 0; block < blocks; ++block)
                    total += load(parts + block * 2 * args.width + offset + begin + i, lanes);
                if (accumulate) total += load(to + begin + i, lanes);
                store(to + begin + i, total, lanes);
            });
        };
        add_up(0, args.dgamma, args.accumulate_gamma);
        if (args.dbeta) add_up(args.width, args.dbeta, args.accumulate_beta);
    });
}

}  // namespace

void layer_norm(CpuStream& stream, const LayerNormArgs& args) {
    if (args.y.is_f32()) return fp32_layer_norm(stream, args);
    const std::int64_t count = args.rows * args.width;
    LayerNormArgs norm = args;
    if (args.delta) {  // the sum is rounded before anything is made of it
        Fp32Operands fp32(stream);
        LayerNormArgs addition = args;
        addition.x = fp32.read(args.x, count);
        addition.delta = fp32.read(args.delta, count);
        addition.sum = fp32.write(args.sum, count);
        parallel_blocks(stream.threads, args.rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) add_residual(addition, r);
        });
        fp32.finish();
        norm.x = args.sum;
        norm.delta = nullptr;
    }
    Fp32Operands fp32(stream);
    norm.x = fp32.read(norm.x, count);
    norm.y = fp32.write(args.y, count);
    fp32_layer_norm(stream, norm);
    fp32.finish();
}

void layer_norm_backward(CpuStream& stream, const LayerNormBackwardArgs& args) {
    const std::int64_t count = args.rows * args.width;
    Fp32Operands fp32(stream);
    LayerNormBackwardArgs widened = args;
    widened.sum = fp32.read(args.sum, count);
    widened.dy = fp32.read(args.dy, count);
    widened.dsum = fp32.write(args.dsum, count, args.accumulate_sum);
    fp32_layer_norm_backward(stream, widened);
    fp32.finish();
}

}  // namespace skein::kernels
