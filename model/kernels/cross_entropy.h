#pragma once

#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// Softmax cross-entropy with label smoothing, forward and gradient in one pass over each row of logits:
///   loss = -(1 - ε) log p[target] - (ε / V) Σ_v log p[v],   dlogits = scale · (p - (1 - ε) · 1[target] - ε /
///   V)
/// (Szegedy et al., 2016, section 7, with the true vocabulary V). A negative target is padding: no loss and a
/// zero gradient. logits: [rows, vocabulary]; loss, nll (the same with ε = 0) and correct (whether the
/// target's logit is the first largest): [rows]. Logits are fp32 and all arithmetic is fp32 or fp64; dlogits
/// are rounded once, to the dtype that the products with them want.
struct CrossEntropyArgs {
    std::int64_t rows = 0, vocabulary = 0;
    float* logits = nullptr;  ///< left undefined where a gradient is wanted
    Operand gradient{};       ///< [rows, vocabulary], or null: not wanted. If fp32, it may be logits itself
    const std::int32_t* targets = nullptr;
    double smoothing = 0.0;
    float gradient_scale = 1.0f;
    const float* device_scale =
        nullptr;  ///< or one value in the device's memory that gradient_scale is multiplied by
    double* loss = nullptr;
    double* nll = nullptr;
    std::int64_t* correct = nullptr;
    /// The id of the first logit, where they are a part of the vocabulary only (cross_entropy_part).
    std::int64_t first_id = 0;
};
void cross_entropy(CpuStream& stream, const CrossEntropyArgs& args);
void cross_entropy(CudaStream& stream, const CrossEntropyArgs& args);

/// What a part of the vocabulary adds to a row's loss.
struct VocabularyPart {
    double total = 0.0;    ///< Σ exp(x - highest)
    double centred = 0.0;  ///< Σ (x - highest)
    std::int64_t ids = 0;  ///< in this part
    float highest = 0.0f;  ///< logit
    float target = 0.0f;   ///< the target's logit, where it is of this part
    std::int32_t target_is_first =
        0;  ///< it is this part's highest, and no id before it in the part has as much
    std::int32_t unused = 0;
};

/// The same in two calls, for a vocabulary that is split over several ranks. First what this part adds,
/// parts: [rows]. It may leave the gradient, and the logits with it, in a state that only the second call
/// understands, which has the same args.
void cross_entropy_part(CpuStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts);
void cross_entropy_part(CudaStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts);

/// All parts of a vocabulary, [count, rows] in the order of their ids, of which part `own` is this rank's.
struct VocabularyParts {
    const VocabularyPart* parts = nullptr;
    int count = 1, own = 0;
};
/// Then the losses, which are the same bits on every rank, and this part's gradient. Sums over the parts are
/// fp64, in order.
void cross_entropy_of_parts(CpuStream& stream, const CrossEntropyArgs& args, const VocabularyParts& parts);
void cross_entropy_of_parts(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& parts);

/// sums[s] = the sum of of_rows[s · length] ... of_rows[s · length + length - 1], in order.
void sum_samples(CpuStream& stream, const double* of_rows, std::int64_t samples, std::int64_t length,
                 double* sums);
void sum_samples(CpuStream& stream, const std::int64_t* of_rows, std::int64_t samples, std::int64_t length,
                 std::int64_t* sums);
void sum_samples(CudaStream& stream, const double* of_rows, std::int64_t samples, std::int64_t length,
                 double* sums);
void sum_samples(CudaStream& stream, const std::int64_t* of_rows, std::int64_t samples, std::int64_t length,
                 std::int64_t* sums);

}  // namespace skein::kernels
