#pragma once

#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// Softmax cross-entropy with label smoothing, forward and gradient in one pass over each row of logits:
///   loss = -(1 - ε) log p[target] - (ε / V) Σ_v log p[v],   dlogits = scale · (p - (1 - ε) · 1[target] - ε /
///   V)
/// (Szegedy et al., 2016, section 7, with the true vocabulary V). A negative target is padding: no loss and a
/// zero gradient. logits: [rows, vocabulary], a row every `stride` elements; loss, nll (the same with ε = 0)
/// and correct (whether the target's logit is the first largest): [rows]. Logits are fp32 and all arithmetic
/// is fp32 or fp64; dlogits are rounded once, to the dtype that the products with them want.
struct CrossEntropyArgs {
    std::int64_t rows = 0, vocabulary = 0;
    float* logits = nullptr;  ///< left undefined where a gradient is wanted
    Operand gradient{};       ///< as logits, or null: not wanted. If fp32, it may be logits itself
    std::int64_t stride = 0;  ///< 0: vocabulary. What lies between rows may be written
    const std::int32_t* targets = nullptr;
    double smoothing = 0.0;
    float gradient_scale = 1.0f;
    const float* device_scale =
        nullptr;  ///< or one value in the device's memory that gradient_scale is multiplied by
    double* loss = nullptr;
    double* nll = nullptr;
    std::int64_t* correct = nullptr;
    /// The id of the first logit, where they are a part of the vocabulary only (cross_entropy_parts).
    std::int64_t first_id = 0;

    constexpr std::int64_t row(std::int64_t r) const { return r * (stride > 0 ? stride : vocabulary); }
};
void cross_entropy(CpuStream& stream, const CrossEntropyArgs& args);
void cross_entropy(CudaStream& stream, const CrossEntropyArgs& args);

/// A row of logits over a part of the vocabulary.
struct VocabularyPart {
    std::int64_t ids = 0;  ///< in this part
    float highest = 0.0f;  ///< logit
    float target = 0.0f;   ///< the target's logit, where it is of this part
    std::int32_t target_is_first =
        0;  ///< it is this part's highest, and no id before it in the part has as much
    std::int32_t unused = 0;
};
/// What it adds to the row's sums, where `highest` is the whole row's.
struct VocabularySums {
    double total = 0.0;    ///< Σ exp(x - highest)
    double centred = 0.0;  ///< Σ (x - highest)
};
/// All parts of the rows, [count, rows] in the order of their ids.
struct VocabularyParts {
    const VocabularyPart* parts = nullptr;
    const VocabularySums* sums = nullptr;
    int count = 1;
};

/// The same for a vocabulary that is split over several ranks, in three calls, between which the ranks tell
/// each other what a call gave. Every exponential has the bits that it has in one piece, and sums over the
/// vocabulary are fp64, so that the results are the same on every rank, and but for rare roundings those of
/// one piece. First, parts: [rows].
void cross_entropy_parts(CpuStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts);
void cross_entropy_parts(CudaStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts);
/// Second, sums: [rows], of all.parts. It may leave the gradient, and the logits with it, in a state that
/// only the third understands.
void cross_entropy_sums(CpuStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all,
                        VocabularySums* sums);
void cross_entropy_sums(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all,
                        VocabularySums* sums);
/// Third, the losses and this part's gradient, of all.parts and all.sums.
void cross_entropy_of_parts(CpuStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all);
void cross_entropy_of_parts(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all);

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
