#include "model/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/simd.h"

namespace skein::kernels {
namespace {

using namespace simd;

constexpr float kLowest = -3.4028235e38f;

// Σ f(i) over a row: eight lanes inside blocks of 512, blocks added in fp64.
template <class F>
double row_sum(std::int64_t count, const F& f) {
    constexpr std::int64_t kBlock = 512;
    double total = 0.0;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        F8 partial = splat(0.0f);
        for_lanes(std::min(kBlock, count - begin),
                  [&](std::int64_t i, auto lanes) { partial += f(begin + i, lanes); });
        total += static_cast<double>(sum(partial));
    }
    return total;
}

float row_max(const float* x, std::int64_t count) {
    F8 highest = splat(kLowest);
    for_lanes(count,
              [&](std::int64_t i, auto lanes) { highest = max(highest, load(x + i, lanes, kLowest)); });
    return max(highest);
}

void pad_row(const CrossEntropyArgs& args, std::int64_t r) {
    if (args.gradient) std::fill_n(args.gradient.f32() + r * args.vocabulary, args.vocabulary, 0.0f);
    args.loss[r] = args.nll[r] = 0.0;
    args.correct[r] = 0;
}

void loss_of_row(const CrossEntropyArgs& args, std::int64_t r) {
    const float* x = args.logits + r * args.vocabulary;
    const std::int64_t vocabulary = args.vocabulary;
    const std::int32_t target = args.targets[r];
    const float target_logit = x[target];
    const float highest = row_max(x, vocabulary);
    const double uniform_share = args.smoothing / static_cast<double>(vocabulary);
    const double centred_sum =
        args.smoothing > 0.0
            ? row_sum(vocabulary, [&](std::int64_t i,
                                      auto lanes) { return load(x + i, lanes, highest) - splat(highest); })
            : 0.0;
    args.correct[r] = target_logit == highest && std::find(x, x + target, highest) == x + target;
    const auto exponential = [&](std::int64_t i, auto lanes) {
        return simd::exp(load(x + i, lanes, kLowest) - splat(highest));
    };
    double total;
    if (args.gradient) {
        float* gradient = args.gradient.f32() + r * vocabulary;
        total = row_sum(vocabulary, [&](std::int64_t i, auto lanes) {
            const F8 e = exponential(i, lanes);
            store(gradient + i, e, lanes);
            return e;
        });
        const auto gradient_scale = static_cast<double>(args.gradient_scale);
        const auto factor = static_cast<float>(gradient_scale / total);
        const auto share = static_cast<float>(-uniform_share * gradient_scale);
        for_lanes(vocabulary, [&](std::int64_t i, auto lanes) {
            store(gradient + i, fma(load(gradient + i, lanes), splat(factor), splat(share)), lanes);
        });
        gradient[target] -= static_cast<float>((1.0 - args.smoothing) * gradient_scale);
    } else {
        total = row_sum(vocabulary, exponential);
    }
    // log p[v] = x[v] - highest - log(total)
    const double log_total = std::log(total);
    args.nll[r] = log_total - (static_cast<double>(target_logit) - static_cast<double>(highest));
    args.loss[r] = (1.0 - args.smoothing) * args.nll[r] +
                   uniform_share * (static_cast<double>(vocabulary) * log_total - centred_sum);
}

void fp32_cross_entropy(CpuStream& stream, const CrossEntropyArgs& args) {
    parallel_blocks(stream.threads, args.rows, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r)
            args.targets[r] < 0 ? pad_row(args, r) : loss_of_row(args, r);
    });
}

template <class Number>
void add_up_samples(CpuStream& stream, const Number* of_rows, std::int64_t samples, std::int64_t length,
                    Number* sums) {
    parallel_blocks(stream.threads, samples, 256, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t sample = begin; sample < end; ++sample) {
            Number total = 0;
            for (std::int64_t t = 0; t < length; ++t) total += of_rows[sample * length + t];
            sums[sample] = total;
        }
    });
}

}  // namespace

void cross_entropy(CpuStream& stream, const CrossEntropyArgs& args) {
    CrossEntropyArgs in_fp32 = args;
    if (args.device_scale) in_fp32.gradient_scale *= *args.device_scale;
    if (args.gradient.is_f32()) return fp32_cross_entropy(stream, in_fp32);
    in_fp32.gradient = args.logits;
    fp32_cross_entropy(stream, in_fp32);
    narrow(stream, args.logits, args.gradient, args.rows * args.vocabulary);
}

void sum_samples(CpuStream& stream, const double* of_rows, std::int64_t samples, std::int64_t length,
                 double* sums) {
    add_up_samples(stream, of_rows, samples, length, sums);
}

void sum_samples(CpuStream& stream, const std::int64_t* of_rows, std::int64_t samples, std::int64_t length,
                 std::int64_t* sums) {
    add_up_samples(stream, of_rows, samples, length, sums);
}

}  // namespace skein::kernels
