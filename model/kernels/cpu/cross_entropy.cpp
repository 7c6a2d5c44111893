#include "model/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/simd.h"
#include "model/kernels/row_loss.h"

namespace skein::kernels {
namespace {

using namespace simd;

constexpr float kLowest = -3.4028235e38f;

// Σ f(i) over a row, in fp64: eight lanes, which are added last.
template <class F>
double row_sum(std::int64_t count, const F& f) {
    using D8 [[gnu::vector_size(64)]] = double;
    D8 partial{};
    for_lanes(count,
              [&](std::int64_t i, auto lanes) { partial += __builtin_convertvector(f(i, lanes), D8); });
    return ((partial[0] + partial[4]) + (partial[2] + partial[6])) +
           ((partial[1] + partial[5]) + (partial[3] + partial[7]));
}

float row_max(const float* x, std::int64_t count) {
    F8 highest = splat(kLowest);
    for_lanes(count,
              [&](std::int64_t i, auto lanes) { highest = max(highest, load(x + i, lanes, kLowest)); });
    return max(highest);
}

// The target's place among this part's logits; less than 0 or past them where it is another part's.
std::int64_t place_of_target(const CrossEntropyArgs& args, std::int64_t r) {
    return args.targets[r] - args.first_id;
}

bool holds(const CrossEntropyArgs& args, std::int64_t place) {
    return place >= 0 && place < args.vocabulary;
}

VocabularyPart part_of_row(const CrossEntropyArgs& args, std::int64_t r) {
    const std::int64_t vocabulary = args.vocabulary, target = place_of_target(args, r);
    const float* x = args.logits + args.row(r);
    VocabularyPart part;
    part.ids = vocabulary;
    part.highest = row_max(x, vocabulary);
    if (holds(args, target)) {
        part.target = x[target];
        part.target_is_first =
            part.target == part.highest && std::find(x, x + target, part.highest) == x + target;
    }
    return part;
}

// Leaves exp(x - highest) where a gradient is wanted.
VocabularySums sums_of_row(const CrossEntropyArgs& args, std::int64_t r, float highest) {
    const float* x = args.logits + args.row(r);
    float* gradient = args.gradient ? args.gradient.f32() + args.row(r) : nullptr;
    VocabularySums sums;
    if (args.smoothing > 0.0)
        sums.centred = row_sum(args.vocabulary, [&](std::int64_t i, auto lanes) {
            return load(x + i, lanes, highest) - splat(highest);
        });
    sums.total = row_sum(args.vocabulary, [&](std::int64_t i, auto lanes) {
        const F8 e = simd::exp(load(x + i, lanes, kLowest) - splat(highest));
        if (gradient) store(gradient + i, e, lanes);
        return e;
    });
    return sums;
}

void pad_row(const CrossEntropyArgs& args, std::int64_t r) {
    if (args.gradient) std::fill_n(args.gradient.f32() + args.row(r), args.vocabulary, 0.0f);
    args.loss[r] = args.nll[r] = 0.0;
    args.correct[r] = 0;
}

// Makes the gradient of what sums_of_row left. Part i of the row is all.parts[i · rows + r].
void finish_row(const CrossEntropyArgs& args, std::int64_t r, const VocabularyParts& all, std::int64_t rows,
                std::int64_t row_of_parts) {
    const RowLoss row = row_loss(all, rows, row_of_parts, args.targets[r], args.smoothing,
                                 [](double x) { return std::log(x); });
    args.nll[r] = row.nll;
    args.loss[r] = row.loss;
    args.correct[r] = row.correct;
    if (!args.gradient) return;
    float* gradient = args.gradient.f32() + args.row(r);
    const auto scale = static_cast<double>(args.gradient_scale);
    const auto factor = static_cast<float>(scale / row.total);
    const auto share = static_cast<float>(-row.uniform_share * scale);
    for_lanes(args.vocabulary, [&](std::int64_t i, auto lanes) {
        store(gradient + i, fma(load(gradient + i, lanes), splat(factor), splat(share)), lanes);
    });
    if (const std::int64_t target = place_of_target(args, r); holds(args, target))
        gradient[target] -= static_cast<float>((1.0 - args.smoothing) * scale);
}

// The gradient in fp32, and the scale as the device has it.
CrossEntropyArgs in_fp32(const CrossEntropyArgs& args) {
    CrossEntropyArgs out = args;
    if (args.device_scale) out.gradient_scale *= *args.device_scale;
    if (!args.gradient.is_f32()) out.gradient = args.logits;
    return out;
}

template <class Row>
void for_rows(CpuStream& stream, const CrossEntropyArgs& args, const Row& row) {
    parallel_blocks(stream.threads, args.rows, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) row(r);
    });
}

void finish(CpuStream& stream, const CrossEntropyArgs& args) {
    if (!args.gradient.is_f32()) narrow(stream, args.logits, args.gradient, args.row(args.rows));
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
    const CrossEntropyArgs fp32 = in_fp32(args);
    for_rows(stream, fp32, [&](std::int64_t r) {
        if (fp32.targets[r] < 0) return pad_row(fp32, r);
        const VocabularyPart whole = part_of_row(fp32, r);
        const VocabularySums sums = sums_of_row(fp32, r, whole.highest);
        finish_row(fp32, r, {&whole, &sums}, 1, 0);
    });
    finish(stream, args);
}

void cross_entropy_parts(CpuStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts) {
    for_rows(stream, args, [&](std::int64_t r) {
        parts[r] = args.targets[r] < 0 ? VocabularyPart{} : part_of_row(args, r);
    });
}

void cross_entropy_sums(CpuStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all,
                        VocabularySums* sums) {
    const CrossEntropyArgs fp32 = in_fp32(args);
    for_rows(stream, fp32, [&](std::int64_t r) {
        sums[r] =
            fp32.targets[r] < 0 ? VocabularySums{} : sums_of_row(fp32, r, highest_of(all, args.rows, r));
    });
}

void cross_entropy_of_parts(CpuStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all) {
    const CrossEntropyArgs fp32 = in_fp32(args);
    for_rows(stream, fp32, [&](std::int64_t r) {
        if (fp32.targets[r] < 0) return pad_row(fp32, r);
        finish_row(fp32, r, all, args.rows, r);
    });
    finish(stream, args);
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
