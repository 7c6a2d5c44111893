#include "tests/trainer/exact_arithmetic.h"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <functional>
#include <span>
#include <utility>

#include "model/base/error.h"
#include "model/kernels/elementwise.h"
#include "model/kernels/embedding.h"
#include "model/kernels/gemm.h"
#include "model/kernels/layer_norm.h"
#include "model/kernels/sum_parts.h"
#include "parallel/tree_sum.h"

namespace skein {
namespace {

std::int64_t rounded_values = 0, clamped_values = 0, exact_calls = 0;
std::vector<std::string> inexact_calls;

void note(const std::string& call) {
    if (inexact_calls.size() < 10) inexact_calls.push_back(call);
}

template <class Call>
void expect_exact(const std::string& what, const Call& call) {
    std::feclearexcept(FE_ALL_EXCEPT);
    call();
    if (std::fetestexcept(FE_INEXACT)) note(what);
    ++exact_calls;
}

}  // namespace

void round_inexact(const Tensor& tensor, Tape::Inexact kind) {
    using Inexact = Tape::Inexact;
    struct Grid {
        float step, bound;
    };
    const Grid grid = kind == Inexact::kResult          ? Grid{0x1p-1f, 2.0f}
                      : kind == Inexact::kGradient      ? Grid{0x1p-14f, 0x1p-4f}
                      : kind == Inexact::kLogitGradient ? Grid{0x1p-19f, 1.0f}
                                                        : Grid{0x1p-1f, 1e6f};
    for (float& value : tensor.span<float>()) {
        if (kind == Inexact::kScale) {
            value = std::exp2(std::round(std::log2(value)));
            continue;
        }
        const float rounded = std::round(value / grid.step) * grid.step;
        value = std::clamp(rounded, -grid.bound, grid.bound);
        ++rounded_values;
        clamped_values += value != rounded;
    }
}

double take_clamped_share() {
    const double share = static_cast<double>(std::exchange(clamped_values, 0)) /
                         static_cast<double>(std::max<std::int64_t>(1, rounded_values));
    rounded_values = 0;
    return share;
}

std::vector<std::string> take_inexact_calls() {
    return std::exchange(inexact_calls, {});
}

std::int64_t take_exact_calls() {
    return std::exchange(exact_calls, 0);
}

}  // namespace skein

// The names are what the compiler makes of the kernels'; the linker's --wrap wants them so.
namespace skein::test {

using namespace kernels;
// clang-format off
#define SKEIN_WRAPPED(NAME, SYMBOL, PARAMETERS)                  \
    void real_##NAME PARAMETERS __asm__("__real_" SYMBOL);       \
    void wrap_##NAME PARAMETERS __asm__("__wrap_" SYMBOL)
// clang-format on

SKEIN_WRAPPED(gemm, "_ZN5skein7kernels4gemmERNS_9CpuStreamERKNS0_8GemmArgsE", (CpuStream&, const GemmArgs&));
SKEIN_WRAPPED(column_sums, "_ZN5skein7kernels11column_sumsERNS_9CpuStreamEllNS_12ConstOperandEPfb",
              (CpuStream&, std::int64_t, std::int64_t, ConstOperand, float*, bool));
SKEIN_WRAPPED(copy_or_add, "_ZN5skein7kernels11copy_or_addERNS_9CpuStreamENS_12ConstOperandENS_7OperandElb",
              (CpuStream&, ConstOperand, Operand, std::int64_t, bool));
SKEIN_WRAPPED(apply_dropout,
              "_ZN5skein7kernels13apply_dropoutERNS_9CpuStreamERKNS0_7DropoutERKNS0_8RowPlaceEllNS_"
              "12ConstOperandENS_7OperandEb",
              (CpuStream&, const Dropout&, const RowPlace&, std::int64_t, std::int64_t, ConstOperand, Operand,
               bool));
SKEIN_WRAPPED(add, "_ZN5skein7kernels3addERNS_9CpuStreamEPKfS4_Pfl",
              (CpuStream&, const float*, const float*, float*, std::int64_t));
SKEIN_WRAPPED(sum_parts, "_ZN5skein7kernels9sum_partsERNS_9CpuStreamERKNS0_12SumPartsArgsE",
              (CpuStream&, const SumPartsArgs&));
SKEIN_WRAPPED(embedding, "_ZN5skein7kernels9embeddingERNS_9CpuStreamERKNS0_13EmbeddingArgsE",
              (CpuStream&, const EmbeddingArgs&));
SKEIN_WRAPPED(embedding_backward,
              "_ZN5skein7kernels18embedding_backwardERNS_9CpuStreamERKNS0_21EmbeddingBackwardArgsE",
              (CpuStream&, const EmbeddingBackwardArgs&));
SKEIN_WRAPPED(sum_along_tree,
              "_ZN5skein14sum_along_treeERNS_9CpuStreamESt4spanIKNS_5MergeELm18446744073709551615EES2_IKPfLm"
              "18446744073709551615EES6_l",
              (CpuStream&, std::span<const Merge>, std::span<float* const>, float*, std::int64_t));
SKEIN_WRAPPED(layer_norm_backward,
              "_ZN5skein7kernels19layer_norm_backwardERNS_9CpuStreamERKNS0_21LayerNormBackwardArgsE",
              (CpuStream&, const LayerNormBackwardArgs&));

void wrap_gemm(CpuStream& stream, const GemmArgs& args) {
    if (args.epilogue == Epilogue::kGelu || args.epilogue == Epilogue::kGeluBackward)
        return real_gemm(stream, args);
    expect_exact(text("a product [", args.m, ", ", args.k, "] · [", args.k, ", ", args.n, "]"),
                 [&] { real_gemm(stream, args); });
}
void wrap_column_sums(CpuStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                      bool accumulate) {
    expect_exact("column sums", [&] { real_column_sums(stream, rows, width, x, sums, accumulate); });
}
void wrap_copy_or_add(CpuStream& stream, ConstOperand source, Operand target, std::int64_t count,
                      bool accumulate) {
    expect_exact(text("an addition of ", count),
                 [&] { real_copy_or_add(stream, source, target, count, accumulate); });
}
void wrap_apply_dropout(CpuStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                        std::int64_t width, ConstOperand x, Operand y, bool accumulate) {
    expect_exact("dropout",
                 [&] { real_apply_dropout(stream, dropout, place, rows, width, x, y, accumulate); });
}
void wrap_add(CpuStream& stream, const float* left, const float* right, float* target, std::int64_t count) {
    expect_exact("a sum of lanes", [&] { real_add(stream, left, right, target, count); });
}
void wrap_sum_parts(CpuStream& stream, const SumPartsArgs& args) {
    expect_exact("a sum over the tensor group", [&] { real_sum_parts(stream, args); });
}
void wrap_embedding(CpuStream& stream, const EmbeddingArgs& args) {
    expect_exact("embedding", [&] { real_embedding(stream, args); });
}
void wrap_embedding_backward(CpuStream& stream, const EmbeddingBackwardArgs& args) {
    expect_exact("embedding's gradient", [&] { real_embedding_backward(stream, args); });
}
void wrap_sum_along_tree(CpuStream& stream, std::span<const Merge> merges, std::span<float* const> operands,
                         float* result, std::int64_t count) {
    expect_exact("a sum along the tree",
                 [&] { real_sum_along_tree(stream, merges, operands, result, count); });
}

void wrap_layer_norm_backward(CpuStream& stream, const LayerNormBackwardArgs& args) {
    const auto width = static_cast<std::size_t>(args.width);
    std::vector<double> gamma(width, 0.0), beta(width, 0.0);
    for (std::size_t c = 0; c < width; ++c) {
        if (args.accumulate_gamma) gamma[c] = static_cast<double>(args.dgamma[c]);
        if (args.dbeta && args.accumulate_beta) beta[c] = static_cast<double>(args.dbeta[c]);
        for (std::int64_t r = 0; r < args.rows; ++r) {
            const std::int64_t i = r * args.width + static_cast<std::int64_t>(c);
            const double normed =
                (static_cast<double>(args.sum.f32()[i]) - static_cast<double>(args.mean[r])) *
                static_cast<double>(args.rstd[r]);
            gamma[c] += static_cast<double>(args.dy.f32()[i]) * normed;
            beta[c] += static_cast<double>(args.dy.f32()[i]);
        }
    }
    real_layer_norm_backward(stream, args);
    ++exact_calls;
    for (std::size_t c = 0; c < width; ++c)
        if (static_cast<double>(args.dgamma[c]) != gamma[c] ||
            (args.dbeta && static_cast<double>(args.dbeta[c]) != beta[c]))
            return note(text("the gradients of a norm's scale and shift over ", args.rows, " rows"));
}

}  // namespace skein::test
