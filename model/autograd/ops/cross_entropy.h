#pragma once

#include "model/autograd/tape.h"
#include "model/autograd/tensor_group.h"

namespace skein {

struct LossOptions {
    double label_smoothing = 0.0;
    /// What the gradients of the summed loss are multiplied by: 1 / (real target tokens of the global batch).
    double gradient_scale = 1.0;
    /// One value in the device's memory that gradient_scale is multiplied by, read when the kernel runs; or
    /// null.
    const float* device_scale = nullptr;
    /// Tokens a sample has in `hidden`.
    std::int64_t length = 1;
    /// The ranks that share the vocabulary out, each with the rows of weight from first_id on, in the order
    /// of ranks; null: weight is whole. They tell each other 40 bytes a row in two rounds; the logits stay
    /// where they are. The gradient of hidden is then this rank's part of it.
    TensorGroup* group = nullptr;
    std::int64_t first_id = 0;
    std::int64_t vocabulary = 0;  ///< of all of the group's ranks together
};

/// Sums over the real target tokens of each sample, in order, in fp64.
struct LossSums {
    Var root;        ///< what to call backward on
    Tensor loss;     ///< f64 [samples]: cross-entropy with label smoothing, in nats
    Tensor nll;      ///< f64 [samples]: without it
    Tensor correct;  ///< i64 [samples]: tokens whose target is the most probable
};

/// Output projection, softmax and cross-entropy in one: logits = hidden · weightᵀ exist only for a block of
/// rows at a time, and while a block's gradient is at hand its products go into the gradients of hidden and
/// weight, so that backward has nothing left to do. hidden: [samples · length, width]; weight: [vocabulary,
/// width]; targets: i32 [samples · length], negative for padding.
LossSums linear_cross_entropy(const Var& hidden, const Var& weight, const Tensor& targets,
                              const LossOptions& options);

}  // namespace skein
