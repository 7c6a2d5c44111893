#include "model/kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/model/kernels/attention_reference.h"

namespace skein::kernels {
namespace {

using reference::Problem;
using reference::Values;
using Floats = std::vector<float>;

constexpr float kUntouched = 12345.0f;

std::int64_t size_of(const auto& values) {
    return static_cast<std::int64_t>(values.size());
}
Floats to_float(const Values& values) {
    return Floats(values.begin(), values.end());
}

/// Values that fp32 holds exactly, so that kernel and reference read the same.
Values random_values(std::int64_t count, std::mt19937& random, double deviation = 1.0) {
    std::normal_distribution<double> normal(0.0, deviation);
    Values out(static_cast<std::size_t>(count));
    for (double& x : out) x = static_cast<float>(normal(random));
    return out;
}

void fill(Problem& p, std::mt19937& random) {
    p.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(p.head_width)));
    p.query = random_values(p.batch * p.query_length * p.heads * p.head_width, random);
    p.key = random_values(p.batch * p.key_length * p.key_value_heads * p.head_width, random);
    p.value = random_values(p.batch * p.key_length * p.key_value_heads * p.head_width, random);
}

void add_rotary(Problem& p) {
    const std::int64_t positions =
        std::max(p.query_length + std::max<std::int64_t>(p.query_offset, 0), p.key_length);
    for (std::int64_t position = 0; position < positions; ++position)
        for (std::int64_t c = 0; c < p.head_width / 2; ++c) {
            const double angle =
                static_cast<double>(position) *
                std::pow(100.0, -2.0 * static_cast<double>(c) / static_cast<double>(p.head_width));
            p.rotary_cos.push_back(static_cast<float>(std::cos(angle)));
            p.rotary_sin.push_back(static_cast<float>(std::sin(angle)));
        }
}

struct Outcome {
    Floats output, log_sum_exp, query, key, value, bias;  // the last four are gradients
    friend bool operator==(const Outcome& a, const Outcome& b) {
        const auto same = [](const Floats& x, const Floats& y) {
            return x.size() == y.size() &&
                   (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
        };
        return same(a.output, b.output) && same(a.log_sum_exp, b.log_sum_exp) && same(a.query, b.query) &&
               same(a.key, b.key) && same(a.value, b.value) && same(a.bias, b.bias);
    }
};

/// Rows of `width` elements, each followed by `gap` that nobody may write.
struct Rows {
    Floats data;
    std::int64_t width, stride;
    Rows(const Values& values, std::int64_t row_width, std::int64_t gap)
        : width(row_width), stride(row_width + gap) {
        for (std::int64_t start = 0; start < size_of(values); start += width) {
            data.insert(data.end(), values.begin() + start, values.begin() + start + width);
            data.insert(data.end(), static_cast<std::size_t>(gap), kUntouched);
        }
    }
    Floats packed() const {
        Floats out;
        for (std::int64_t start = 0; start < size_of(data); start += stride) {
            out.insert(out.end(), data.begin() + start, data.begin() + start + width);
            for (std::int64_t i = start + width; i < start + stride; ++i)
                EXPECT_EQ(data[static_cast<std::size_t>(i)], kUntouched) << "written between rows";
        }
        return out;
    }
};

Outcome run(const Problem& p, const Values& output_gradient, int threads, bool want_bias_gradient,
            std::int64_t gap = 3) {
    const std::int64_t query_width = p.heads * p.head_width, key_width = p.key_value_heads * p.head_width;
    const Rows query(p.query, query_width, gap), key(p.key, key_width, 2 * gap),
        value(p.value, key_width, 3 * gap);
    const Values nothing_query(p.query.size(), kUntouched), nothing_key(p.key.size(), kUntouched);
    Rows output(nothing_query, query_width, 4 * gap), query_gradient(nothing_query, query_width, gap);
    Rows key_gradient(nothing_key, key_width, gap), value_gradient(nothing_key, key_width, 2 * gap);
    const Rows gradient(output_gradient, query_width, 5 * gap);
    const Floats bias = to_float(p.bias), cosines = to_float(p.rotary_cos), sines = to_float(p.rotary_sin);
    Outcome outcome;
    outcome.log_sum_exp.assign(static_cast<std::size_t>(p.batch * p.heads * p.query_length), kUntouched);
    if (want_bias_gradient)
        outcome.bias.assign(static_cast<std::size_t>(p.heads * p.query_length * p.key_length), kUntouched);

    AttentionArgs args;
    args.batch = p.batch, args.query_length = p.query_length, args.key_length = p.key_length;
    args.heads = p.heads, args.key_value_heads = p.key_value_heads, args.head_width = p.head_width;
    args.scale = static_cast<float>(p.scale);
    args.query = query.data.data(), args.key = key.data.data(), args.value = value.data.data();
    args.query_stride = query.stride, args.key_stride = key.stride, args.value_stride = value.stride;
    args.causal = p.causal, args.query_offset = p.query_offset;
    args.key_lengths = p.key_lengths.empty() ? nullptr : p.key_lengths.data();
    args.query_lengths = p.query_lengths.empty() ? nullptr : p.query_lengths.data();
    args.bias = bias.empty() ? nullptr : bias.data();
    args.rotary_cos = cosines.empty() ? nullptr : cosines.data();
    args.rotary_sin = sines.empty() ? nullptr : sines.data();
    args.dropout = p.dropout, args.first_sample = p.first_sample, args.first_head = p.first_head;
    args.output = output.data.data(), args.output_stride = output.stride;
    args.log_sum_exp = outcome.log_sum_exp.data();
    CpuStream stream{threads, nullptr};
    attention(stream, args);

    AttentionBackwardArgs backward;
    backward.forward = args;
    backward.output_gradient = gradient.data.data(), backward.output_gradient_stride = gradient.stride;
    backward.query_gradient = query_gradient.data.data(),
    backward.query_gradient_stride = query_gradient.stride;
    backward.key_gradient = key_gradient.data.data(), backward.key_gradient_stride = key_gradient.stride;
    backward.value_gradient = value_gradient.data.data(),
    backward.value_gradient_stride = value_gradient.stride;
    backward.bias_gradient = want_bias_gradient ? outcome.bias.data() : nullptr;
    attention_backward(stream, backward);
    outcome.output = output.packed(), outcome.query = query_gradient.packed();
    outcome.key = key_gradient.packed(), outcome.value = value_gradient.packed();
    return outcome;
}

// Sums of up to a few hundred terms of order one in fp32: about sqrt(300) · 2^-24 = 1e-6 of their size each,
// and a few such sums in a row; ten times that. A dropped element or a wrong mask is off by 1e-2 or more.
constexpr double kTolerance = 2e-5;

void expect_near(const Floats& found, const Values& wanted, const char* what) {
    ASSERT_EQ(found.size(), wanted.size()) << what;
    double largest = 1.0;
    for (double x : wanted)
        if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (std::isinf(wanted[i]))
            ASSERT_EQ(static_cast<double>(found[i]), wanted[i]) << what << " [" << i << "]";
        else
            ASSERT_NEAR(found[i], wanted[i], kTolerance * largest) << what << " [" << i << "]";
    }
}

void expect_as_reference(const Problem& p, const Values& output_gradient, bool want_bias_gradient = true) {
    const reference::Result wanted = reference::attention(p, output_gradient);
    const Outcome found = run(p, output_gradient, 2, want_bias_gradient);
    expect_near(found.output, wanted.output, "output");
    expect_near(found.log_sum_exp, wanted.log_sum_exp, "log_sum_exp");
    expect_near(found.query, wanted.gradients.query, "query gradient");
    expect_near(found.key, wanted.gradients.key, "key gradient");
    expect_near(found.value, wanted.gradients.value, "value gradient");
    if (want_bias_gradient) expect_near(found.bias, wanted.gradients.bias, "bias gradient");
}

/// Options and sizes as drawn; every option is on in half of the cases, independently.
Problem random_problem(std::mt19937& random) {
    const auto up_to = [&](std::int64_t last) {
        return std::uniform_int_distribution<std::int64_t>(1, last)(random);
    };
    const auto coin = [&] { return up_to(2) == 1; };
    Problem p;
    p.batch = up_to(3), p.key_value_heads = up_to(3), p.heads = p.key_value_heads * up_to(3);
    p.query_length = up_to(coin() ? 12 : 90), p.key_length = up_to(coin() ? 12 : 300);
    const bool rotary = coin();
    p.head_width = rotary ? 2 * up_to(20) : up_to(40);
    p.causal = coin();
    if (coin()) p.query_offset = rotary ? up_to(9) : up_to(19) - 10;
    if (coin()) p.first_sample = up_to(100);
    if (coin()) p.first_head = up_to(20);
    fill(p, random);
    const auto lengths = [&](std::int64_t length) {
        std::vector<std::int32_t> out;
        for (std::int64_t b = 0; b < p.batch; ++b)
            out.push_back(static_cast<std::int32_t>(up_to(length + 1) - 1));
        return out;
    };
    if (coin()) p.key_lengths = lengths(p.key_length);
    if (coin()) p.query_lengths = lengths(p.query_length);
    if (coin()) p.bias = random_values(p.heads * p.query_length * p.key_length, random);
    if (rotary) add_rotary(p);
    if (coin()) p.dropout = make_dropout(0.2, {static_cast<std::uint32_t>(random()), 77});
    return p;
}

TEST(Attention, OutputAndGradientsAreThoseOfThePlainReferenceUnderRandomOptions) {
    std::mt19937 random(1);
    for (int i = 0; i < 150; ++i) {
        SCOPED_TRACE("case " + std::to_string(i));
        const Problem p = random_problem(random);
        expect_as_reference(p, random_values(size_of(p.query), random), i % 3 != 0);
        if (HasFatalFailure()) return;
    }
}

TEST(Attention, OutputAndGradientsAreThoseOfThePlainReferenceOverManyBlocks) {
    std::mt19937 random(2);
    Problem p;
    p.batch = 1, p.heads = 2, p.key_value_heads = 1, p.head_width = 24;
    p.query_length = p.key_length = 410;  // more than one task, four key blocks, thirteen row blocks
    p.causal = true;
    p.dropout = make_dropout(0.1, {3, 4});
    fill(p, random);
    add_rotary(p);
    expect_as_reference(p, random_values(size_of(p.query), random));
}

TEST(Attention, OneQueryOverALongCacheIsTheLastRowOfTheWhole) {
    std::mt19937 random(3);
    Problem whole;
    whole.batch = 2, whole.heads = 3, whole.key_value_heads = 3, whole.head_width = 16;
    whole.query_length = whole.key_length = 333;
    whole.causal = true;
    fill(whole, random);
    add_rotary(whole);
    Problem last = whole;
    last.query_length = 1, last.query_offset = 332;
    last.query.clear();
    const std::int64_t row = whole.heads * whole.head_width;
    for (std::int64_t b = 0; b < whole.batch; ++b) {
        const auto from = whole.query.begin() + (b * 333 + 332) * row;
        last.query.insert(last.query.end(), from, from + row);
    }
    const Outcome all = run(whole, whole.query, 2, false), one = run(last, last.query, 2, false);
    for (std::int64_t b = 0; b < whole.batch; ++b)
        EXPECT_EQ(0, std::memcmp(one.output.data() + b * row, all.output.data() + (b * 333 + 332) * row,
                                 static_cast<std::size_t>(row) * sizeof(float)));
}

TEST(Attention, GradientsOfTheReferenceMatchFiniteDifferences) {
    std::mt19937 random(4);
    Problem p;
    p.batch = 2, p.heads = 4, p.key_value_heads = 2, p.head_width = 4, p.query_length = 5, p.key_length = 6;
    p.causal = true, p.query_offset = 1;
    p.key_lengths = {6, 4}, p.query_lengths = {4, 5};
    p.dropout = make_dropout(0.25, {9, 9});
    fill(p, random);
    p.bias = random_values(p.heads * p.query_length * p.key_length, random);
    add_rotary(p);
    const Values weights = random_values(size_of(p.query), random);
    const reference::Gradients gradients = reference::attention(p, weights).gradients;
    const auto loss = [&] { return reference::dot(reference::attention(p, weights).output, weights); };
    const auto check = [&](Values& values, const Values& gradient) {
        constexpr double kStep = 1e-5;  // the error of a central difference is of order its square
        for (std::size_t i = 0; i < values.size(); ++i) {
            const double kept = values[i];
            values[i] = kept + kStep;
            const double above = loss();
            values[i] = kept - kStep;
            const double below = loss();
            values[i] = kept;
            ASSERT_NEAR(gradient[i], (above - below) / (2 * kStep), 1e-7);
        }
    };
    check(p.query, gradients.query);
    check(p.key, gradients.key);
    check(p.value, gradients.value);
    check(p.bias, gradients.bias);
}

TEST(Attention, BitsDoNotDependOnTheNumberOfThreads) {
    std::mt19937 random(5);
    for (int i = 0; i < 20; ++i) {
        const Problem p = random_problem(random);
        const Values gradient = random_values(size_of(p.query), random);
        const Outcome one = run(p, gradient, 1, i % 2 == 0);
        EXPECT_TRUE(one == run(p, gradient, 2, i % 2 == 0)) << "case " << i;
        EXPECT_TRUE(one == run(p, gradient, 3, i % 2 == 0)) << "case " << i;
    }
}

/// Sample b of a problem, its inputs cut to the given lengths.
Problem alone(const Problem& p, std::int64_t b, std::int64_t queries, std::int64_t keys) {
    Problem out = p;
    out.batch = 1, out.query_length = queries, out.key_length = keys, out.first_sample = p.first_sample + b;
    const auto cut = [&](const Values& values, std::int64_t padded, std::int64_t length, std::int64_t width) {
        const auto from = values.begin() + b * padded * width;
        return Values(from, from + length * width);
    };
    out.query = cut(p.query, p.query_length, queries, p.heads * p.head_width);
    out.key = cut(p.key, p.key_length, keys, p.key_value_heads * p.head_width);
    out.value = cut(p.value, p.key_length, keys, p.key_value_heads * p.head_width);
    if (!p.key_lengths.empty()) out.key_lengths = {p.key_lengths[static_cast<std::size_t>(b)]};
    if (!p.query_lengths.empty()) out.query_lengths = {p.query_lengths[static_cast<std::size_t>(b)]};
    if (!p.bias.empty()) {
        out.bias.clear();
        for (std::int64_t row = 0; row < p.heads * p.query_length; ++row)
            if (row % p.query_length < queries)
                out.bias.insert(out.bias.end(), p.bias.begin() + row * p.key_length,
                                p.bias.begin() + row * p.key_length + keys);
    }
    return out;
}

TEST(Attention, BitsOfASampleDependOnNeitherTheBatchNorThePadding) {
    std::mt19937 random(6);
    for (int i = 0; i < 30; ++i) {
        SCOPED_TRACE("case " + std::to_string(i));
        Problem p = random_problem(random);
        p.query_lengths.clear(), p.key_lengths.clear();
        for (std::int64_t b = 0; b < p.batch; ++b) {
            p.query_lengths.push_back(static_cast<std::int32_t>(p.query_length - b % p.query_length));
            p.key_lengths.push_back(static_cast<std::int32_t>(p.key_length - 2 * b % p.key_length));
        }
        const Values gradient = random_values(size_of(p.query), random);
        const Outcome batch = run(p, gradient, 2, false);
        const std::int64_t query_row = p.heads * p.head_width, key_row = p.key_value_heads * p.head_width;
        for (std::int64_t b = 0; b < p.batch; ++b) {
            const std::int64_t queries = p.query_lengths[static_cast<std::size_t>(b)];
            const std::int64_t keys = p.key_lengths[static_cast<std::size_t>(b)];
            const auto from = gradient.begin() + b * p.query_length * query_row;
            const Outcome sample =
                run(alone(p, b, queries, keys), Values(from, from + queries * query_row), 1, false);
            const auto same = [&](const Floats& of_batch, std::int64_t start, const Floats& of_sample) {
                return std::memcmp(of_batch.data() + start, of_sample.data(),
                                   of_sample.size() * sizeof(float)) == 0;
            };
            EXPECT_TRUE(same(batch.output, b * p.query_length * query_row, sample.output));
            EXPECT_TRUE(same(batch.query, b * p.query_length * query_row, sample.query));
            EXPECT_TRUE(same(batch.key, b * p.key_length * key_row, sample.key));
            EXPECT_TRUE(same(batch.value, b * p.key_length * key_row, sample.value));
        }
    }
}

TEST(Attention, ExtremeScoresGiveFiniteResults) {
    std::mt19937 random(7);
    Problem p;
    p.batch = 1, p.heads = 2, p.key_value_heads = 2, p.head_width = 16, p.query_length = 20,
    p.key_length = 300;
    fill(p, random);
    p.bias = random_values(p.heads * p.query_length * p.key_length, random, 1e4);
    const Outcome found = run(p, p.query, 1, true);
    for (const Floats* values :
         {&found.output, &found.log_sum_exp, &found.query, &found.key, &found.value, &found.bias})
        for (float x : *values) ASSERT_TRUE(std::isfinite(x));
    // one probability of each row is 1: the row of the largest score comes out as it is
    const reference::Result wanted = reference::attention(p, p.query);
    for (std::size_t i = 0; i < wanted.output.size(); ++i)
        ASSERT_NEAR(found.output[i], wanted.output[i], 1e-2);
}

TEST(Attention, RowsThatSeeNothingAreZeroAndSendNoGradient) {
    std::mt19937 random(8);
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    Problem p;
    p.batch = 3, p.heads = 2, p.key_value_heads = 1, p.head_width = 12, p.query_length = 9,
    p.key_length = 140;
    p.causal = true, p.query_offset = -3;  // the first three see nothing
    p.key_lengths = {140, 0, 140}, p.query_lengths = {9, 9, 0};
    fill(p, random);
    p.bias = random_values(p.heads * p.query_length * p.key_length, random);
    for (std::int64_t j = 0; j < p.key_length; ++j)  // nor does query 5 of head 1, by its bias
        reference::at(p.bias, (p.query_length + 5) * p.key_length + j) = -kInfinity;
    const Values gradient = random_values(size_of(p.query), random);
    expect_as_reference(p, gradient);
    const Outcome found = run(p, gradient, 2, true);
    const std::int64_t row = p.heads * p.head_width, sample = p.query_length * row;
    for (const Floats* values : {&found.output, &found.query}) {
        for (std::int64_t i = 0; i < 3 * row; ++i) EXPECT_EQ((*values)[static_cast<std::size_t>(i)], 0.0f);
        for (std::int64_t i = sample; i < 3 * sample; ++i)
            EXPECT_EQ((*values)[static_cast<std::size_t>(i)], 0.0f);
        for (std::int64_t c = 0; c < p.head_width; ++c)
            EXPECT_EQ((*values)[static_cast<std::size_t>(5 * row + p.head_width + c)], 0.0f);
    }
}

TEST(Attention, NaNsAreHandedOn) {
    std::mt19937 random(9);
    Problem p;
    p.batch = 1, p.heads = 1, p.key_value_heads = 1, p.head_width = 8, p.query_length = 4, p.key_length = 4;
    fill(p, random);
    p.key[0] = std::numeric_limits<double>::quiet_NaN();
    const Outcome found = run(p, p.query, 1, false);
    EXPECT_TRUE(std::isnan(found.output[0]));
    EXPECT_TRUE(std::isnan(found.query[0]));
}

}  // namespace
}  // namespace skein::kernels
