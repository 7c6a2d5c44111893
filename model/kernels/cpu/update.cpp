#include "model/kernels/update.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"

namespace skein::kernels {
namespace {

struct AdamFactors {
    float gradient_scale, coupled_decay, keep, step, inverse_correction2;
};

/// The arrays do not overlap.
void update(const AdamArgs& args, const AdamFactors& by, std::int64_t count,
            const float* __restrict__ gradient, float* __restrict__ p, float* __restrict__ m,
            float* __restrict__ v) {
    for (std::int64_t i = 0; i < count; ++i) {
        const float g = gradient[i] * by.gradient_scale + by.coupled_decay * p[i];
        m[i] = args.beta1 * m[i] + (1.0f - args.beta1) * g;
        v[i] = args.beta2 * v[i] + (1.0f - args.beta2) * g * g;
        p[i] = by.keep * p[i] - by.step * m[i] / (std::sqrt(v[i] * by.inverse_correction2) + args.epsilon);
    }
}

}  // namespace

std::vector<TensorBlock> blocks_of(const std::vector<AdamTensor>& tensors) {
    std::vector<TensorBlock> blocks;
    for (std::size_t tensor = 0; tensor < tensors.size(); ++tensor)
        for (std::int64_t block = 0; block * kNormBlock < tensors[tensor].count; ++block)
            blocks.push_back({static_cast<std::int32_t>(tensor), static_cast<std::int32_t>(block)});
    return blocks;
}

void gradient_square_sums(CpuStream& stream, const AdamList& list, double* sums) {
    parallel_for_uneven(stream.threads, list.block_count, [&](std::int64_t i) {
        const AdamTensor& tensor = list.tensors[list.blocks[i].tensor];
        const std::int64_t begin = list.blocks[i].block * kNormBlock;
        CpuStream own{1, stream.pool};
        block_square_sums(own, tensor.gradient + begin, std::min(kNormBlock, tensor.count - begin), sums + i);
    });
}

void end_step(CpuStream&, const EndStepArgs& args) {
    double loss = 0.0, squares = 0.0;
    for (std::int64_t i = 0; i < args.samples; ++i) loss += args.losses[i];
    for (std::int64_t i = 0; i < args.blocks; ++i) squares += args.square_sums[i];
    *args.end = decide(args, *args.state, loss, std::sqrt(squares));
    *args.state = args.end->after;
}

void adam(CpuStream& stream, const AdamArgs& args) {
    const StepEnd& end = *args.end;
    if (end.skipped != 0) return;
    const float step = end.rate / end.correction1;
    const float inverse_correction2 = 1.0f / end.correction2;
    parallel_for_uneven(stream.threads, args.list.block_count, [&](std::int64_t block) {
        const AdamTensor& tensor = args.list.tensors[args.list.blocks[block].tensor];
        const std::int64_t first = args.list.blocks[block].block * kNormBlock;
        const std::int64_t count = std::min(kNormBlock, tensor.count - first);
        float* parameter = tensor.parameter + first;
        const AdamFactors factors{end.gradient_scale, tensor.coupled_decay,
                                  1.0f - end.rate * tensor.decoupled_decay, step, inverse_correction2};
        update(args, factors, count, tensor.gradient + first, parameter, tensor.moment1 + first,
               tensor.moment2 + first);
        if (tensor.sent)
            std::memcpy(tensor.sent + first, parameter, static_cast<std::size_t>(count) * sizeof(float));
        if (tensor.copy) narrow(parameter, Operand(tensor.copy, args.list.copies) + first, count);
    });
}

void take_parameters(CpuStream& stream, const TakeArgs& args) {
    if (args.end->skipped != 0) return;
    parallel_for_uneven(stream.threads, args.list.block_count, [&](std::int64_t block) {
        const AdamTensor& tensor = args.list.tensors[args.list.blocks[block].tensor];
        const std::int64_t first = args.list.blocks[block].block * kNormBlock;
        const std::int64_t count = std::min(kNormBlock, tensor.count - first);
        const float* sent = tensor.gradient + first;
        if (tensor.parameter)
            std::memcpy(tensor.parameter + first, sent, static_cast<std::size_t>(count) * sizeof(float));
        if (tensor.copy) narrow(sent, Operand(tensor.copy, args.list.copies) + first, count);
    });
}

}  // namespace skein::kernels
