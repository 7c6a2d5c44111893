// Gradients of linear, feed-forward, norms and embedding. Widths are odd, below and above eight: the kernels
// work on eight lanes at a time.
#include "model/autograd/ops/embedding.h"
#include "model/autograd/ops/feed_forward.h"
#include "model/autograd/ops/layer_norm.h"
#include "model/autograd/ops/linear.h"
#include "model/base/error.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_ops.h"

namespace skein::test {
namespace {

constexpr PhiloxKey kKey{1234, 5678};

TEST(Linear, GradientsMatchFiniteDifferencesWithAndWithoutBias) {
    for (const bool bias : {false, true}) {
        std::vector<Input> inputs{{{5, 11}, 1}, {{3, 11}, 2}};
        if (bias) inputs.push_back({{3}, 3});
        check_gradients([&](Tape&, const auto& v) { return linear(v[0], v[1], bias ? v[2] : Var{}); },
                        [&](const auto& v) { return fp64::linear(v[0], v[1], bias ? v[2] : fp64::Matrix{}); },
                        inputs);
    }
}

TEST(Linear, RefusesShapesThatDoNotFit) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const auto constant = [&](const Shape& shape) {
        return tape.constant(Tensor::zeros(stream, DType::f32, shape));
    };
    EXPECT_THROW(linear(constant({2, 4}), constant({3, 5})), ShapeError);
    EXPECT_THROW(linear(constant({2, 5}), constant({3, 5}), constant({4})), ShapeError);
}

TEST(FeedForward, GradientsMatchFiniteDifferencesForEveryActivationBiasAndDropout) {
    for (const bool gelu : {false, true})
        for (const bool bias : {false, true})
            for (const double probability : {0.0, 0.4}) {
                std::vector<Input> inputs{{{6, 5}, 11}, {{13, 5}, 12}, {{5, 13}, 13}};
                if (bias) inputs.insert(inputs.end(), {{{13}, 14}, {{5}, 15}});
                const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
                check_gradients(
                    [&](Tape&, const auto& v) {
                        return feed_forward(v[0], {v[1], bias ? v[3] : Var{}, v[2], bias ? v[4] : Var{}},
                                            gelu ? Activation::kGelu : Activation::kRelu, dropout, {3, 7, 0});
                    },
                    [&](const auto& v) {
                        const fp64::Matrix none;
                        fp64::Matrix hidden =
                            fp64::activated(fp64::linear(v[0], v[1], bias ? v[3] : none), gelu);
                        hidden = fp64::dropped(hidden, dropout, {3, 7, 0});
                        return fp64::linear(hidden, v[2], bias ? v[4] : none);
                    },
                    inputs);
            }
}

TEST(LayerNorm, GradientsMatchFiniteDifferencesAtAnyWidth) {
    for (const std::int64_t width : {1, 3, 8, 19})
        for (const bool bias : {false, true}) {
            std::vector<Input> inputs{{{4, width}, 21}, {{width}, 22}};
            if (bias) inputs.push_back({{width}, 23});
            check_gradients(
                [&](Tape&, const auto& v) { return layer_norm(v[0], v[1], bias ? v[2] : Var{}); },
                [&](const auto& v) { return fp64::layer_norm(v[0], v[1], bias ? v[2] : fp64::Matrix{}); },
                inputs);
        }
}

TEST(AddNorm, GradientsMatchFiniteDifferencesThroughBothResults) {
    // the second call uses both results of the first: the sum's gradient comes from two sides
    for (const double probability : {0.0, 0.3}) {
        const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
        check_gradients(
            [&](Tape&, const auto& v) {
                const ResidualNorm first = add_norm(v[0], v[1], dropout, {2, 5, 1}, v[2], v[3]);
                return add_norm(first.sum, first.normed, dropout, {2, 6, 0}, v[3], v[2]).normed;
            },
            [&](const auto& v) {
                const fp64::Matrix sum = fp64::added(v[0], fp64::dropped(v[1], dropout, {2, 5, 1}));
                const fp64::Matrix normed = fp64::layer_norm(sum, v[2], v[3]);
                return fp64::layer_norm(fp64::added(sum, fp64::dropped(normed, dropout, {2, 6, 0})), v[3],
                                        v[2]);
            },
            {{{4, 9}, 31}, {{4, 9}, 32}, {{9}, 33, 0.3f, 1.0f}, {{9}, 34, 0.3f, 1.0f}});
    }
}

TEST(AddNorm, AddsATensorToItself) {
    check_gradients([&](Tape&, const auto& v) { return add_norm(v[0], v[0], {}, {}, v[1], {}).normed; },
                    [&](const auto& v) { return fp64::layer_norm(fp64::added(v[0], v[0]), v[1], {}); },
                    {{{3, 10}, 41}, {{10}, 42}});
}

TEST(Embedding, GradientsMatchFiniteDifferencesWithRepeatedIdsPositionsScaleAndDropout) {
    const std::vector<std::int32_t> ids{3, 0, 3, 3, 5, 0};  // 1, 2 and 4 do not occur: their rows are zero
    for (const bool positions : {false, true})
        for (const double probability : {0.0, 0.3}) {
            const kernels::Dropout dropout = kernels::make_dropout(probability, kKey);
            std::vector<Input> inputs{{{6, 11}, 51}};
            if (positions) inputs.push_back({{5, 11}, 52});  // positions 1 ... 3 of 5 are used
            check_gradients(
                [&](Tape& tape, const auto& v) {
                    const Tensor rows = Tensor::from<std::int32_t>(tape.stream(), {2, 3}, ids);
                    return embedding(v[0], positions ? v[1] : Var{}, rows, 2.5f, dropout, {3, 9, 1});
                },
                [&](const auto& v) {
                    const fp64::Matrix y =
                        fp64::embedding(v[0], positions ? v[1] : fp64::Matrix{}, ids, 2.5, {3, 9, 1});
                    return fp64::dropped(y, dropout, {3, 9, 1});
                },
                inputs);
        }
}

TEST(Embedding, RefusesPositionsPastTheContext) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const Var table = tape.constant(Tensor::zeros(stream, DType::f32, {4, 2}));
    const Var positions = tape.constant(Tensor::zeros(stream, DType::f32, {3, 2}));
    const Tensor ids = Tensor::zeros(stream, DType::i32, {1, 2});
    EXPECT_NO_THROW(embedding(table, positions, ids, 1.0f, {}, {2, 0, 1}));
    EXPECT_THROW(embedding(table, positions, ids, 1.0f, {}, {2, 0, 2}), ShapeError);
}

}  // namespace
}  // namespace skein::test
