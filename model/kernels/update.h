#pragma once

#include <cstdint>
#include <vector>

#include "model/base/loss_scale.h"
#include "model/kernels/elementwise.h"

namespace skein {
struct CudaStream;
}

/// The end of a training step: the gradient's norm, what is to be done with it, and the update, all decided
/// in the device's memory, so that the host need not wait for a number before it queues the next step. On the
/// CPU that memory is the host's.
namespace skein::kernels {

/// A parameter with what its update reads and writes. All of [count].
struct AdamTensor {
    std::int64_t count = 0;
    float* parameter = nullptr;
    void* copy = nullptr;  ///< the parameter in 16 bits, which follows it; or null
    const float* gradient = nullptr;
    float* moment1 = nullptr;
    float* moment2 = nullptr;
    float coupled_decay = 0.0f, decoupled_decay = 0.0f;
    /// Where the new value goes as well, for other ranks to get; may be where the gradient is. Or null.
    float* sent = nullptr;
    friend bool operator==(const AdamTensor&, const AdamTensor&) = default;
};

/// A block of kNormBlock elements, counted from a tensor's element 0.
struct TensorBlock {
    std::int32_t tensor = 0, block = 0;
};
/// The blocks of the tensors, in order: that in which their sums of squares are added.
std::vector<TensorBlock> blocks_of(const std::vector<AdamTensor>& tensors);

/// Runs of a model's parameters, or all of them. The lists themselves lie in the device's memory.
struct AdamList {
    const AdamTensor* tensors = nullptr;
    const TensorBlock* blocks = nullptr;
    std::int64_t block_count = 0;
    DType copies = DType::f32;  ///< what the copies are; f32: there is none
};

/// sums[i] is Σ g² over blocks[i], in fp64 and in an order that the block alone sets.
void gradient_square_sums(CpuStream& stream, const AdamList& list, double* sums);
void gradient_square_sums(CudaStream& stream, const AdamList& list, double* sums);

/// What a run carries from step to step.
struct UpdateState {
    std::int64_t updates = 0;  ///< made so far
    LossScaleState loss_scale;
    float gradient_scale = 1.0f;  ///< the loss scale, for the kernel that begins backward
    std::int32_t unused = 0;
    friend bool operator==(const UpdateState&, const UpdateState&) = default;
};

/// What a step came to.
struct StepEnd {
    double loss = 0.0;  ///< per token
    double norm = 0.0;  ///< of the gradient, without the loss scale, before clipping
    UpdateState before, after;
    float gradient_scale = 1.0f;  ///< of the update: clip factor over loss scale
    float rate = 0.0f, correction1 = 1.0f, correction2 = 1.0f;
    std::int32_t skipped = 0;  ///< loss or norm was not finite: nothing is updated
    std::int32_t unused = 0;
};

/// Updates that the host cannot tell apart yet: the last step's outcome may still be on its way.
inline constexpr int kUpdatesAhead = 2;

struct EndStepArgs {
    const double* losses = nullptr;  ///< [samples] of the global batch, on the device; added in order
    std::int64_t samples = 0, tokens = 1;
    const double* square_sums = nullptr;  ///< [blocks] on the device; added in order
    std::int64_t blocks = 0;
    double clip = 0.0;         ///< global norm; 0: off
    bool scales_loss = false;  ///< fp16: the loss scale goes by `rule`
    LossScaleRule rule;
    /// For update first_update + i: learning rate, and 1 - β^update for both moments.
    std::int64_t first_update = 1;
    float rate[kUpdatesAhead] = {}, correction1[kUpdatesAhead] = {}, correction2[kUpdatesAhead] = {};
    UpdateState* state = nullptr;  ///< on the device; read, and written
    StepEnd* end = nullptr;        ///< on the device
};

/// The decision itself, of the sums: the same on every device. A function of its arguments alone.
constexpr StepEnd decide(const EndStepArgs& args, const UpdateState& state, double loss_sum, double norm) {
    StepEnd end;
    end.loss = loss_sum / static_cast<double>(args.tokens);
    end.norm = norm / state.loss_scale.scale;
    end.before = end.after = state;
    const bool finite = end.loss - end.loss == 0.0 && end.norm - end.norm == 0.0;
    end.skipped = finite ? 0 : 1;
    const std::int64_t ahead = state.updates + 1 - args.first_update;
    const std::int64_t at = ahead < 0 ? 0 : ahead < kUpdatesAhead ? ahead : kUpdatesAhead - 1;
    end.rate = args.rate[at];
    end.correction1 = args.correction1[at];
    end.correction2 = args.correction2[at];
    const double clip = finite && args.clip > 0.0 && end.norm > args.clip ? args.clip / end.norm : 1.0;
    end.gradient_scale = static_cast<float>(clip / state.loss_scale.scale);
    if (finite) ++end.after.updates;
    if (args.scales_loss) end.after.loss_scale = after_step(state.loss_scale, args.rule, !finite);
    end.after.gradient_scale = static_cast<float>(end.after.loss_scale.scale);
    return end;
}
void end_step(CpuStream& stream, const EndStepArgs& args);
void end_step(CudaStream& stream, const EndStepArgs& args);

/// Adam (Kingma and Ba, 2015), and AdamW (Loshchilov and Hutter, 2019) where decoupled_decay is not zero:
///   g' = gradient_scale · g + coupled_decay · p
///   m = β1 m + (1 - β1) g';  v = β2 v + (1 - β2) g'^2
///   p = p - rate · decoupled_decay · p - rate · (m / correction1) / (sqrt(v / correction2) + ε)
/// with correction_i = 1 - β_i^updates, on every tensor of the list; nothing when the step is to be skipped.
/// All arithmetic is fp32; a copy becomes the new value, rounded.
struct AdamArgs {
    AdamList list;
    const StepEnd* end = nullptr;  ///< on the device
    float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
};
void adam(CpuStream& stream, const AdamArgs& args);
void adam(CudaStream& stream, const AdamArgs& args);

/// What other ranks updated and sent: every parameter of the list (where it is not null) and its copy become
/// what lies in its gradient's place, as adam would have left them; nothing when the step is to be skipped.
struct TakeArgs {
    AdamList list;
    const StepEnd* end = nullptr;  ///< on the device
};
void take_parameters(CpuStream& stream, const TakeArgs& args);
void take_parameters(CudaStream& stream, const TakeArgs& args);

}  // namespace skein::kernels
