// Every op in bf16 and fp16, forward and backward, against itself in fp32 on the same rounded inputs.
//
// Half a unit in the last place is u = 2^-8 of a value in bf16 and 2^-11 in fp16. A value is rounded when it
// is stored, so an op that stores nothing between its inputs and its result is within u of fp32, and one that
// reads what it stored within as many u, of typical values, as it stored in turn: `roundings`.
#include <algorithm>
#include <cmath>

#include "model/autograd/ops/attention.h"
#include "model/autograd/ops/cross_entropy.h"
#include "model/autograd/ops/embedding.h"
#include "model/autograd/ops/feed_forward.h"
#include "model/autograd/ops/layer_norm.h"
#include "model/autograd/ops/linear.h"
#include "model/kernels/elementwise.h"
#include "tests/support/gradient_check.h"

namespace skein::test {
namespace {

constexpr PhiloxKey kKey{1234, 5678};

double unit_of(DType dtype) {
    return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0.0;
}

Tensor converted(Stream& stream, const Tensor& tensor, DType dtype) {
    const Tensor out = Tensor::empty(stream, dtype, tensor.shape());
    stream.run(
        [&](auto& s) { kernels::copy_or_add(s, tensor.operand(), out.operand(), out.elements(), false); });
    return out;
}
std::vector<float> floats(Stream& stream, const Tensor& tensor) {
    return floats_of(stream, converted(stream, tensor, DType::f32));
}

struct Result {
    std::vector<float> value;
    std::vector<std::vector<float>> gradients;
};

/// The op's value and the gradients of Σ c_i y_i. Inputs of rank two or more, and c, are rounded to
/// `rounded`; in `dtype` the op reads them. The first `activations` inputs get their gradients in that dtype,
/// by way of an op in between; the others are leaves, whose gradients are fp32.
Result run(const TapeOp& op, const std::vector<Input>& inputs, std::size_t activations, DType rounded,
           DType dtype) {
    Stream stream(test_gpu(), 2);
    std::vector<Leaf> leaves(inputs.size());
    for (std::size_t n = 0; n < inputs.size(); ++n) {
        const Tensor exact = Tensor::from<float>(stream, inputs[n].shape, inputs[n].values);
        leaves[n].gradient = filled(stream, inputs[n].shape, 1e30f);  // stale: must be written over
        leaves[n].value = exact;
        if (inputs[n].shape.rank() < 2) continue;
        leaves[n].value = converted(stream, converted(stream, exact, rounded), DType::f32);
        if (dtype != DType::f32) leaves[n].copy = converted(stream, leaves[n].value, dtype);
    }
    Tape tape(stream);
    std::vector<Var> vars;
    for (std::size_t n = 0; n < leaves.size(); ++n) {
        const Var leaf = tape.leaf(leaves[n]);
        vars.push_back(
            n >= activations
                ? leaf
                : tape.record(leaf.value(), {leaf}, [node = NodeRef(leaf)](Tape& t, const Tensor& gradient) {
                      t.pass_gradient(node, gradient);
                  }));
    }
    const Var y = op(tape, vars);
    EXPECT_EQ(y.value().dtype(), dtype);
    const std::vector<float> coefficients = random_floats(y.shape().elements(), 4711);
    const Tensor seed = converted(stream, Tensor::from<float>(stream, y.shape(), coefficients), rounded);
    Result result;
    result.value = floats(stream, y.value());
    tape.backward(y, converted(stream, seed, dtype));
    for (const Leaf& leaf : leaves) result.gradients.push_back(floats_of(stream, leaf.gradient));
    return result;
}

std::vector<double> doubles(const std::vector<float>& values) {
    return {values.begin(), values.end()};
}

void check(const TapeOp& op, const std::vector<Input>& inputs, std::size_t activations,
           double value_roundings, double gradient_roundings) {
    for (const DType dtype : {DType::bf16, DType::f16}) {
        SCOPED_TRACE(name_of(dtype));
        const Result wanted = run(op, inputs, activations, dtype, DType::f32),
                     found = run(op, inputs, activations, dtype, dtype);
        const double unit = unit_of(dtype);
        expect_close(found.value, doubles(wanted.value), value_roundings * unit, "value");
        for (std::size_t n = 0; n < inputs.size(); ++n)
            expect_close(found.gradients[n], doubles(wanted.gradients[n]), gradient_roundings * unit,
                         "gradient of input " + std::to_string(n));
    }
}

TEST(SixteenBits, LinearRoundsItsResultAndTheGradientOfItsInput) {
    check([](Tape&, const auto& v) { return linear(v[0], v[1], v[2]); },
          {{{5, 11}, 1}, {{3, 11}, 2}, {{3}, 3}}, 1, 1.0, 1.0);
}

TEST(SixteenBits, FeedForwardRoundsWhatItKeeps) {
    // forward: the activation, dropped, and the result. Backward reads the rounded activation and its rounded
    // input, whose effect gelu' (at most 1.13, its slope at most 0.8) hands on, and rounds dz twice and dx.
    for (const Activation activation : {Activation::kRelu, Activation::kGelu})
        for (const double probability : {0.0, 0.4}) {
            const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
            check(
                [&](Tape&, const auto& v) {
                    return feed_forward(v[0], {v[1], v[3], v[2], v[4]}, activation, dropout, {3, 7, 0});
                },
                {{{6, 5}, 11}, {{13, 5}, 12, 0.5f}, {{5, 13}, 13, 0.5f}, {{13}, 14}, {{5}, 15}}, 1, 3.0, 5.0);
        }
}

TEST(SixteenBits, LayerNormRoundsItsResultAndTheGradientOfItsInput) {
    check([](Tape&, const auto& v) { return layer_norm(v[0], v[1], v[2]); },
          {{{4, 19}, 21}, {{19}, 22}, {{19}, 23}}, 1, 1.0, 1.0);
}

TEST(SixteenBits, AddNormRoundsItsSumsAndAddsItsGradientsUpInSixteenBits) {
    // The sum of the first is read by its norm and by the second, whose sum is rounded in turn; the gradient
    // of the sum is rounded, added to and rounded again.
    for (const double probability : {0.0, 0.3}) {
        const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
        check(
            [&](Tape&, const auto& v) {
                const ResidualNorm first = add_norm(v[0], v[1], dropout, {2, 5, 1}, v[2], v[3]);
                return add_norm(first.sum, first.normed, dropout, {2, 6, 0}, v[3], v[2]).normed;
            },
            {{{4, 9}, 31}, {{4, 9}, 32}, {{9}, 33, 0.3f, 1.0f}, {{9}, 34, 0.3f, 1.0f}}, 2, 5.0, 8.0);
    }
}

TEST(SixteenBits, EmbeddingRoundsItsRowsAndItsMaskedGradient) {
    const std::vector<std::int32_t> ids{3, 0, 3, 3, 5, 0};
    for (const double probability : {0.0, 0.3}) {
        const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
        check(
            [&](Tape& tape, const auto& v) {
                const Tensor rows = Tensor::from<std::int32_t>(tape.stream(), {2, 3}, ids);
                return embedding(v[0], v[1], rows, 2.5f, dropout, {3, 9, 1});
            },
            {{{6, 11}, 51}, {{5, 11}, 52}}, 0, 1.0, 1.0);
    }
}

TEST(SixteenBits, EmbeddingAddsSinusoidsInFp32) {
    // a constant that is no parameter is read as it is: one rounding in all
    const std::vector<float> sinusoids = random_floats(5 * 11, 53);
    check(
        [&](Tape& tape, const auto& v) {
            const Tensor rows = Tensor::from<std::int32_t>(tape.stream(), {2, 3},
                                                           std::vector<std::int32_t>{3, 0, 3, 3, 5, 0});
            const Var positions = tape.constant(Tensor::from<float>(tape.stream(), {5, 11}, sinusoids));
            return embedding(v[0], positions, rows, 2.5f, {}, {3, 9, 1});
        },
        {{{6, 11}, 51}}, 0, 1.0, 1.0);
}

TEST(SixteenBits, AttentionRoundsItsResultWhichBackwardReads) {
    // backward's one inexact operand is the output, in the row's dot product with its gradient. A GPU's
    // tensor cores read probabilities, and in backward their gradient as well, in 16 bits: one rounding more
    // forward, two more backward.
    const double value_roundings = test_gpu() ? 2.0 : 1.0, gradient_roundings = test_gpu() ? 5.0 : 3.0;
    for (const bool causal : {false, true})
        for (const double probability : {0.0, 0.3}) {
            AttentionOptions options;
            options.batch = 2, options.query_length = options.key_length = 7;
            options.heads = 4, options.key_value_heads = 2, options.head_width = 3;
            options.causal = causal;
            options.dropout = kernels::make_dropout(probability, kKey);
            options.first_sample = 6;
            check([&](Tape&, const auto& v) { return self_attention(v[0], options); }, {{{14, 24}, 5}}, 1,
                  value_roundings, gradient_roundings);
            options.key_length = 5;
            options.causal = false;
            check(
                [&](Tape& tape, const auto& v) {
                    AttentionOptions seen = options;
                    seen.key_lengths =
                        Tensor::from<std::int32_t>(tape.stream(), {2}, std::vector<std::int32_t>{5, 2});
                    return cross_attention(v[0], v[1], seen);
                },
                {{{14, 12}, 7}, {{10, 12}, 8}}, 2, value_roundings, gradient_roundings);
        }
}

TEST(SixteenBits, TheLossIsOfFp32LogitsAndItsGradientIsRoundedBeforeTheProductsWithIt) {
    const std::vector<std::int32_t> targets{3, 0, 6, 2, -1, 4};
    for (const DType dtype : {DType::bf16, DType::f16}) {
        Stream stream(test_gpu(), 2);
        struct Outcome {
            std::vector<double> loss;
            std::vector<float> hidden, weight;
        };
        const auto outcome = [&](DType in) {
            const auto rounded = [&](const Shape& shape, std::uint32_t seed) {
                const Tensor exact =
                    Tensor::from<float>(stream, shape, random_floats(shape.elements(), seed));
                return converted(stream, converted(stream, exact, dtype), in);
            };
            Leaf hidden, weight;
            hidden.value = rounded({6, 5}, 1), weight.value = rounded({7, 5}, 2);
            hidden.gradient = Tensor::empty(stream, DType::f32, {6, 5});
            weight.gradient = Tensor::empty(stream, DType::f32, {7, 5});
            Tape tape(stream);
            const LossSums sums = linear_cross_entropy(
                tape.leaf(hidden), tape.leaf(weight), Tensor::from<std::int32_t>(stream, {2, 3}, targets),
                {.label_smoothing = 0.1, .gradient_scale = 0.25, .length = 3});
            tape.backward(sums.root);
            return Outcome{values_of<double>(stream, sums.loss), floats_of(stream, hidden.gradient),
                           floats_of(stream, weight.gradient)};
        };
        const Outcome wanted = outcome(DType::f32), found = outcome(dtype);
        EXPECT_EQ(found.loss, wanted.loss) << "the same products in fp32";
        // each of seven (six) products is within u; their sum is smaller where they cancel
        expect_close(found.hidden, doubles(wanted.hidden), 4.0 * unit_of(dtype), "hidden");
        expect_close(found.weight, doubles(wanted.weight), 4.0 * unit_of(dtype), "weight");
    }
}

TEST(SixteenBits, AGradientThatComesInTwoPartsIsAddedInItsDtype) {
    Stream stream(test_gpu(), 1);
    const auto tensor = [&](float x) {
        return converted(stream, Tensor::from<float>(stream, {1, 1}, std::vector<float>{x}), DType::bf16);
    };
    Leaf leaf;
    leaf.value = converted(stream, tensor(3), DType::f32);
    leaf.copy = tensor(3);
    leaf.gradient = Tensor::empty(stream, DType::f32, {1, 1});
    // hands on `gradient`, or what came to it
    const auto op = [](const Var& x, const Tensor& gradient = {}) {
        return x.tape().record(x.value(), {x}, [node = NodeRef(x), gradient](Tape& t, const Tensor& dy) {
            t.pass_gradient(node, gradient ? gradient : dy);
        });
    };
    Tape tape(stream);
    const Var x = op(tape.leaf(leaf));
    const Var one = op(x, tensor(1)), many = op(x, tensor(256));
    const Var both = tape.record(one.value(), {one, many},
                                 [a = NodeRef(one), b = NodeRef(many)](Tape& t, const Tensor& dy) {
                                     t.pass_gradient(a, dy);
                                     t.pass_gradient(b, dy);
                                 });
    tape.backward(both, tensor(1));
    EXPECT_EQ(floats_of(stream, leaf.gradient), std::vector<float>{256}) << "257 is no bf16 value";
}

}  // namespace
}  // namespace skein::test
