#include "model/kernels/attention.h"

#include <algorithm>
#include <string>

#include "model/base/error.h"
#include "model/tensor/pool.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels {
namespace {

using namespace test;

template <class T>
class CudaAttention : public ::testing::Test {};
TYPED_TEST_SUITE(CudaAttention, ElementTypes);

struct Shape {
    std::int64_t batch = 1, query_length = 1, key_length = 1, heads = 1, key_value_heads = 1, head_width = 8;
    bool causal = false;
    std::int64_t query_offset = 0;
    std::vector<std::int32_t> key_lengths{}, query_lengths{};  // empty: none
    bool bias = false, rotary = false;
    double dropout = 0.0;
    float scale = 0.0f;    // 0: 1 / sqrt(head_width)
    std::int64_t gap = 0;  // elements between rows that nobody may write
};

constexpr float kUntouched = 12345.0f;

/// What attention reads, in values that T holds.
struct Inputs {
    Floats query, key, value, output_gradient, bias, cosines, sines;
};

template <class T>
Inputs inputs_of(const Shape& s) {
    Inputs in;
    const std::int64_t queries = s.batch * s.query_length * (s.heads * s.head_width + s.gap),
                       keys = s.batch * s.key_length * (s.key_value_heads * s.head_width + s.gap);
    in.query = random_in<T>(queries, 1);
    in.key = random_in<T>(keys, 2);
    in.value = random_in<T>(keys, 3);
    in.output_gradient = random_in<T>(queries, 4);
    if (s.bias) in.bias = random_floats(s.heads * s.query_length * s.key_length, 5);
    if (s.rotary) {
        const std::int64_t positions = std::max(s.query_length + s.query_offset, s.key_length);
        for (std::int64_t position = 0; position < positions; ++position)
            for (std::int64_t c = 0; c < s.head_width / 2; ++c) {
                const double angle = static_cast<double>(position) / static_cast<double>(1 + 3 * c);
                in.cosines.push_back(static_cast<float>(std::cos(angle)));
                in.sines.push_back(static_cast<float>(std::sin(angle)));
            }
    }
    return in;
}

template <class T>
struct Outcome {
    std::vector<T> output, query_gradient, key_gradient, value_gradient;
    Floats log_sum_exp, bias_gradient;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Forward and backward on a stream of either kind.
template <class T, class RunForward, class RunBackward>
Outcome<T> run(const Shape& s, const Inputs& in, const RunForward& forward, const RunBackward& backward) {
    const std::vector<T> query = rounded<T>(in.query), key = rounded<T>(in.key), value = rounded<T>(in.value),
                         output_gradient = rounded<T>(in.output_gradient);
    const T untouched = from_float<T>(kUntouched);
    Outcome<T> out;
    out.output.assign(query.size(), untouched);
    out.query_gradient.assign(query.size(), untouched);
    out.key_gradient.assign(key.size(), untouched);
    out.value_gradient.assign(key.size(), untouched);
    out.log_sum_exp.assign(static_cast<std::size_t>(s.batch * s.heads * s.query_length), kUntouched);
    if (s.bias) out.bias_gradient.assign(in.bias.size(), kUntouched);

    AttentionArgs args;
    args.batch = s.batch, args.query_length = s.query_length, args.key_length = s.key_length;
    args.heads = s.heads, args.key_value_heads = s.key_value_heads, args.head_width = s.head_width;
    args.scale = s.scale != 0.0f ? s.scale : 1.0f / std::sqrt(static_cast<float>(s.head_width));
    args.query = query.data(), args.key = key.data(), args.value = value.data();
    args.query_stride = args.output_stride = s.heads * s.head_width + s.gap;
    args.key_stride = args.value_stride = s.key_value_heads * s.head_width + s.gap;
    args.causal = s.causal, args.query_offset = s.query_offset;
    args.key_lengths = s.key_lengths.empty() ? nullptr : s.key_lengths.data();
    args.query_lengths = s.query_lengths.empty() ? nullptr : s.query_lengths.data();
    args.bias = s.bias ? in.bias.data() : nullptr;
    args.rotary_cos = s.rotary ? in.cosines.data() : nullptr;
    args.rotary_sin = s.rotary ? in.sines.data() : nullptr;
    if (s.dropout > 0.0) args.dropout = make_dropout(s.dropout, {7, 9});
    args.first_sample = 11, args.first_head = 3;
    args.output = out.output.data();
    args.log_sum_exp = out.log_sum_exp.data();
    forward(args);

    AttentionBackwardArgs back;
    back.forward = args;
    back.output_gradient = output_gradient.data(), back.output_gradient_stride = args.query_stride;
    back.query_gradient = out.query_gradient.data(), back.query_gradient_stride = args.query_stride;
    back.key_gradient = out.key_gradient.data(), back.key_gradient_stride = args.key_stride;
    back.value_gradient = out.value_gradient.data(), back.value_gradient_stride = args.value_stride;
    back.bias_gradient = s.bias ? out.bias_gradient.data() : nullptr;
    backward(back);
    return out;
}

template <class T>
Outcome<T> run_on_cuda(const Shape& s, const Inputs& in) {
    ShimStream stream;
    return run<T>(
        s, in, [&](const AttentionArgs& args) { attention(stream, args); },
        [&](const AttentionBackwardArgs& args) { attention_backward(stream, args); });
}

template <class T>
Outcome<T> run_on_cpu(const Shape& s, const Inputs& in) {
    Pool pool;
    CpuStream stream{1, &pool};
    return run<T>(
        s, in, [&](const AttentionArgs& args) { attention(stream, args); },
        [&](const AttentionBackwardArgs& args) { attention_backward(stream, args); });
}

/// Every element of a tensor is within `tolerance` of the largest that is wanted: an output is a mean of
/// values and a gradient a sum of products, whose terms are of that size whatever they cancel to.
template <class T>
void expect_close(const std::vector<T>& found, const std::vector<T>& wanted, double tolerance,
                  const char* what) {
    ASSERT_EQ(found.size(), wanted.size()) << what;
    double largest = 0.25;
    for (const T x : wanted) {
        const double size = std::abs(static_cast<double>(to_float(x)));
        if (size < kUntouched / 2 && size > largest) largest = size;
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto x = static_cast<double>(to_float(found[i])), y = static_cast<double>(to_float(wanted[i]));
        if (std::isinf(y) || y > kUntouched / 2)  // sees nothing; nobody's
            ASSERT_EQ(x, y) << what << " [" << i << "]";
        else
            ASSERT_NEAR(x, y, tolerance * largest) << what << " [" << i << "]";
    }
}

/// In fp32 both sum the same products in different orders: up to a few hundred terms, a few sums in a row,
/// some 10 · sqrt(300) · 2^-24. In 16 bits what is multiplied a second time (probabilities, gradients of
/// scores, turned queries and keys) is rounded, by at most half a unit in its last place each; the errors are
/// independent and of either sign, so that a sum of them stays within a few units, as does the rounding of
/// what is stored. A wrong element, mask or angle is off by a tenth and more.
template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 1e-5 : 5.0 * kRounding<T>;

template <class T>
void check(const Shape& s) {
    SCOPED_TRACE(text("batch ", s.batch, ", ", s.query_length, " queries, ", s.key_length, " keys, ", s.heads,
                      " heads on ", s.key_value_heads, ", ", s.head_width, " wide"));
    const Inputs in = inputs_of<T>(s);
    const Outcome<T> found = in_every_order([&] { return run_on_cuda<T>(s, in); });
    const Outcome<T> wanted = run_on_cpu<T>(s, in);
    const double tolerance = kTolerance<T>;
    expect_close(found.output, wanted.output, tolerance, "output");
    expect_close(found.log_sum_exp, wanted.log_sum_exp, tolerance, "log_sum_exp");
    expect_close(found.query_gradient, wanted.query_gradient, tolerance, "query gradient");
    expect_close(found.key_gradient, wanted.key_gradient, tolerance, "key gradient");
    expect_close(found.value_gradient, wanted.value_gradient, tolerance, "value gradient");
    expect_close(found.bias_gradient, wanted.bias_gradient, tolerance, "bias gradient");
}

TYPED_TEST(CudaAttention, IsTheCpusOverSeveralTiles) {
    check<TypeParam>({.query_length = 70, .key_length = 133, .heads = 1, .head_width = 32});
    check<TypeParam>({.query_length = 150, .key_length = 150, .head_width = 64, .causal = true});
    check<TypeParam>({.query_length = 80, .key_length = 80, .head_width = 128, .causal = true});
    check<TypeParam>({.query_length = 35, .key_length = 70, .head_width = 256});
}

TYPED_TEST(CudaAttention, TakesHeadsOfAnyWidth) {
    for (const std::int64_t width : {1, 8, 16, 24, 77, 200})
        check<TypeParam>({.batch = 2,
                          .query_length = 9,
                          .key_length = 20,
                          .heads = 2,
                          .key_value_heads = 2,
                          .head_width = width});
}

TYPED_TEST(CudaAttention, SeesWhatPositionsAndLengthsAllow) {
    for (const std::int64_t offset : {-7, 0, 40})
        check<TypeParam>({.query_length = 33, .key_length = 70, .causal = true, .query_offset = offset});
    check<TypeParam>({.batch = 4,
                      .query_length = 40,
                      .key_length = 66,
                      .head_width = 16,
                      .key_lengths = {66, 0, 1, 65},
                      .query_lengths = {40, 3, 0, 17}});
    check<TypeParam>({.batch = 3,
                      .query_length = 20,
                      .key_length = 20,
                      .head_width = 16,
                      .causal = true,
                      .key_lengths = {20, 5, 11},
                      .query_lengths = {20, 9, 0}});
}

TYPED_TEST(CudaAttention, SharesKeysAmongTheHeadsOfAGroup) {
    check<TypeParam>({.batch = 2,
                      .query_length = 18,
                      .key_length = 21,
                      .heads = 6,
                      .key_value_heads = 2,
                      .head_width = 16,
                      .gap = 8});
    check<TypeParam>({.query_length = 70,
                      .key_length = 70,
                      .heads = 3,
                      .key_value_heads = 1,
                      .head_width = 16,
                      .causal = true});
}

TYPED_TEST(CudaAttention, AddsABiasAndSumsItsGradientOverTheBatch) {
    check<TypeParam>({.batch = 3,
                      .query_length = 19,
                      .key_length = 70,
                      .heads = 2,
                      .key_value_heads = 1,
                      .head_width = 16,
                      .key_lengths = {70, 33, 2},
                      .bias = true});
    check<TypeParam>({.batch = 2,
                      .query_length = 70,
                      .key_length = 70,
                      .head_width = 8,
                      .causal = true,
                      .bias = true,
                      .dropout = 0.3});
}

TYPED_TEST(CudaAttention, TurnsQueriesAndKeysByTheirPositions) {
    check<TypeParam>({.batch = 2,
                      .query_length = 21,
                      .key_length = 40,
                      .heads = 2,
                      .key_value_heads = 2,
                      .head_width = 24,
                      .causal = true,
                      .query_offset = 19,
                      .rotary = true});
    check<TypeParam>({.query_length = 12, .key_length = 12, .head_width = 6, .rotary = true});
}

TYPED_TEST(CudaAttention, DropsTheCpusProbabilities) {
    check<TypeParam>({.batch = 2,
                      .query_length = 75,
                      .key_length = 75,
                      .heads = 2,
                      .key_value_heads = 1,
                      .head_width = 16,
                      .causal = true,
                      .dropout = 0.4});
    check<TypeParam>(
        {.query_length = 13, .key_length = 69, .head_width = 8, .query_offset = 5, .dropout = 0.1, .gap = 3});
}

TYPED_TEST(CudaAttention, TakesANegativeScale) {
    check<TypeParam>({.query_length = 5, .key_length = 70, .head_width = 16, .scale = -0.5f});
}

TYPED_TEST(CudaAttention, BiasesOfMinusInfinityLeaveNothing) {
    Shape s{.query_length = 5, .key_length = 9, .bias = true};
    Inputs in = inputs_of<TypeParam>(s);
    for (std::int64_t key = 0; key < s.key_length; ++key) at(in.bias, 2 * s.key_length + key) = -INFINITY;
    at(in.bias, 7) = -INFINITY;
    const Outcome<TypeParam> found = run_on_cuda<TypeParam>(s, in), wanted = run_on_cpu<TypeParam>(s, in);
    EXPECT_EQ(at(found.log_sum_exp, 2), -INFINITY);
    expect_close(found.output, wanted.output, kTolerance<TypeParam>, "output");
    expect_close(found.query_gradient, wanted.query_gradient, kTolerance<TypeParam>, "query gradient");
    expect_close(found.bias_gradient, wanted.bias_gradient, kTolerance<TypeParam>, "bias gradient");
}

TYPED_TEST(CudaAttention, BitsOfASampleDependOnNeitherTheBatchNorThePadding) {
    const Shape together{.batch = 2,
                         .query_length = 75,
                         .key_length = 140,
                         .head_width = 16,
                         .key_lengths = {140, 67},
                         .query_lengths = {75, 34}};
    Inputs in = inputs_of<TypeParam>(together);
    // nothing that lies in the padding is read
    const auto spoil = [](Floats& values, std::int64_t begin) {
        std::fill(values.begin() + begin, values.end(), NAN);
    };
    const std::int64_t width = together.head_width;
    spoil(in.query, (75 + 34) * width);
    spoil(in.output_gradient, (75 + 34) * width);
    spoil(in.key, (140 + 67) * width);
    spoil(in.value, (140 + 67) * width);
    const Outcome<TypeParam> both = run_on_cuda<TypeParam>(together, in);

    Shape alone = together;
    alone.batch = 1, alone.query_length = 34, alone.key_length = 67;
    alone.key_lengths.clear(), alone.query_lengths.clear();
    Inputs own;
    const auto second = [&](const Floats& values, std::int64_t padded, std::int64_t length) {
        return Floats(values.begin() + padded * width, values.begin() + (padded + length) * width);
    };
    own.query = second(in.query, 75, 34), own.output_gradient = second(in.output_gradient, 75, 34);
    own.key = second(in.key, 140, 67), own.value = second(in.value, 140, 67);
    const Outcome<TypeParam> one = run_on_cuda<TypeParam>(alone, own);
    const auto same = [&](const auto& found, const auto& wanted, std::int64_t padded) {
        for (std::size_t i = 0; i < wanted.size(); ++i)
            ASSERT_EQ(found[static_cast<std::size_t>(padded * width) + i], wanted[i]) << i;
        for (std::size_t i = static_cast<std::size_t>(padded * width) + wanted.size(); i < found.size(); ++i)
            ASSERT_EQ(to_float(found[i]), 0.0f) << "padding is not zero";
    };
    same(both.output, one.output, 75);
    same(both.query_gradient, one.query_gradient, 75);
    same(both.key_gradient, one.key_gradient, 140);
    same(both.value_gradient, one.value_gradient, 140);
}

TEST(CudaAttentionShape, RefusesWhatItHasNoTilesFor) {
    CudaStream stream;
    AttentionArgs args;
    args.batch = args.query_length = args.key_length = args.heads = args.key_value_heads = 1;
    args.head_width = 264;
    try {
        attention(stream, args);
        FAIL() << "it was taken";
    } catch (const ShapeError& error) {
        EXPECT_STREQ(error.what(), "attention: head width is 264, wanted at most 256");
    }
}

}  // namespace
}  // namespace skein::kernels
