// Gradients of the attention ops with each of their options. The kernels have tests of their own for tiles
// and strides.
#include "model/autograd/ops/attention.h"
#include "model/base/error.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_ops.h"

namespace skein::test {
namespace {

constexpr PhiloxKey kKey{77, 99};

AttentionOptions options_of(const fp64::Attention& a, Stream& stream) {
    AttentionOptions options;
    options.batch = a.batch;
    options.query_length = a.query_length;
    options.key_length = a.key_length;
    options.heads = a.heads;
    options.key_value_heads = a.key_value_heads;
    options.head_width = a.head_width;
    options.causal = a.causal;
    options.query_offset = a.query_offset;
    options.first_sample = a.first_sample;
    options.dropout = a.dropout;
    if (!a.key_lengths.empty())
        options.key_lengths = Tensor::from<std::int32_t>(stream, {a.batch}, a.key_lengths);
    if (!a.query_lengths.empty())
        options.query_lengths = Tensor::from<std::int32_t>(stream, {a.batch}, a.query_lengths);
    if (!a.rotary_cos.empty()) {
        const Shape shape{count(a.rotary_cos) / (a.head_width / 2), a.head_width / 2};
        options.rotary_cos = Tensor::from<float>(stream, shape, a.rotary_cos);
        options.rotary_sin = Tensor::from<float>(stream, shape, a.rotary_sin);
    }
    return options;
}

void check_self(fp64::Attention a, bool with_bias = false) {
    const std::int64_t width = a.heads * a.head_width, kv_width = a.key_value_heads * a.head_width;
    a.key_length = a.query_length;
    std::vector<Input> inputs{{{a.batch * a.query_length, width + 2 * kv_width}, 5}};
    if (with_bias) inputs.push_back({{a.heads, a.query_length, a.key_length}, 6});
    check_gradients(
        [&](Tape& tape, const auto& v) {
            AttentionOptions options = options_of(a, tape.stream());
            if (with_bias) options.bias = v[1];
            return self_attention(v[0], options);
        },
        [&](const auto& v) {
            fp64::Attention plain = a;
            if (with_bias) plain.bias = v[1];
            return fp64::attention(fp64::columns_of(v[0], 0, width), fp64::columns_of(v[0], width, kv_width),
                                   fp64::columns_of(v[0], width + kv_width, kv_width), plain);
        },
        inputs);
}

void check_cross(const fp64::Attention& a, bool with_bias = false) {
    const std::int64_t width = a.heads * a.head_width, kv_width = a.key_value_heads * a.head_width;
    std::vector<Input> inputs{{{a.batch * a.query_length, width}, 7},
                              {{a.batch * a.key_length, 2 * kv_width}, 8}};
    if (with_bias) inputs.push_back({{a.heads, a.query_length, a.key_length}, 9});
    check_gradients(
        [&](Tape& tape, const auto& v) {
            AttentionOptions options = options_of(a, tape.stream());
            if (with_bias) options.bias = v[2];
            return cross_attention(v[0], v[1], options);
        },
        [&](const auto& v) {
            fp64::Attention plain = a;
            if (with_bias) plain.bias = v[2];
            return fp64::attention(v[0], fp64::columns_of(v[1], 0, kv_width),
                                   fp64::columns_of(v[1], kv_width, kv_width), plain);
        },
        inputs);
}

fp64::Attention sized(std::int64_t batch, std::int64_t length, std::int64_t heads, std::int64_t kv_heads,
                      std::int64_t head_width) {
    fp64::Attention a;
    a.batch = batch;
    a.query_length = a.key_length = length;
    a.heads = heads;
    a.key_value_heads = kv_heads;
    a.head_width = head_width;
    return a;
}

TEST(SelfAttention, GradientsMatchFiniteDifferencesCausalAndFull) {
    for (const bool causal : {false, true}) {
        fp64::Attention a = sized(2, 5, 2, 2, 3);
        a.causal = causal;
        check_self(a);
    }
}

TEST(SelfAttention, GradientsMatchFiniteDifferencesWithGroupedHeads) {
    fp64::Attention a = sized(2, 4, 4, 2, 2);
    a.causal = true;
    check_self(a);
}

TEST(SelfAttention, GradientsMatchFiniteDifferencesWithDropoutKeyedBySample) {
    fp64::Attention a = sized(2, 5, 2, 2, 3);
    a.causal = true;
    a.dropout = kernels::make_dropout(0.4, kKey);
    a.first_sample = 6;
    check_self(a);
}

TEST(SelfAttention, GradientsMatchFiniteDifferencesWithABiasThatIsLearned) {
    fp64::Attention a = sized(2, 4, 2, 2, 3);
    a.causal = true;
    check_self(a, true);
}

TEST(SelfAttention, GradientsMatchFiniteDifferencesWithRotaryAngles) {
    fp64::Attention a = sized(2, 4, 2, 2, 4);
    a.causal = true;
    for (int position = 0; position < 4; ++position)
        for (int pair = 0; pair < 2; ++pair) {
            const double angle = position / (1.0 + 3.0 * pair);
            a.rotary_cos.push_back(static_cast<float>(std::cos(angle)));
            a.rotary_sin.push_back(static_cast<float>(std::sin(angle)));
        }
    check_self(a);
}

TEST(CrossAttention, GradientsMatchFiniteDifferencesWithGroupedHeadsBiasAndDropout) {
    fp64::Attention a = sized(2, 3, 4, 2, 2);
    a.key_length = 5;
    check_cross(a);
    a.dropout = kernels::make_dropout(0.3, kKey);
    check_cross(a, true);
}

TEST(CrossAttention, RowsThatMaySeeNothingYieldZeroAndSendNoGradient) {
    fp64::Attention a = sized(3, 3, 2, 2, 2);
    a.key_length = 4;
    a.key_lengths = {4, 0, 2};
    a.query_lengths = {3, 3, 1};
    check_cross(a);
    a.causal = true;
    a.query_offset = -1;  // query 0 stands before the first key
    check_cross(a);
}

TEST(CrossAttention, OfATensorToItselfSumsBothGradients) {
    // one tensor in both places, its two readings of different meaning: queries [2 heads · 3], keys and
    // values [1 · 3]
    fp64::Attention a = sized(2, 4, 2, 1, 3);
    check_gradients(
        [&](Tape& tape, const auto& v) { return cross_attention(v[0], v[0], options_of(a, tape.stream())); },
        [&](const auto& v) {
            return fp64::attention(v[0], fp64::columns_of(v[0], 0, 3), fp64::columns_of(v[0], 3, 3), a);
        },
        {{{8, 6}, 3}});
}

TEST(Attention, RefusesShapesThatDoNotFit) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const auto constant = [&](const Shape& shape) {
        return tape.constant(Tensor::zeros(stream, DType::f32, shape));
    };
    AttentionOptions options = options_of(sized(1, 4, 4, 4, 2), stream);
    EXPECT_THROW(self_attention(constant({4, 23}), options), ShapeError);
    EXPECT_THROW(cross_attention(constant({4, 8}), constant({5, 16}), options), ShapeError);
    options.bias = constant({4, 4, 5});
    EXPECT_THROW(self_attention(constant({4, 24}), options), ShapeError);
    options = options_of(sized(1, 4, 4, 3, 2), stream);
    EXPECT_THROW(self_attention(constant({4, 20}), options), ShapeError);
}

}  // namespace
}  // namespace skein::test
