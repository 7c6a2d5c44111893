#include "model/autograd/tape.h"

#include <memory>

#include "model/autograd/ops/layer_norm.h"
#include "model/autograd/ops/linear.h"
#include "model/base/error.h"
#include "tests/model/autograd/plus.h"
#include "tests/support/gradient_check.h"

namespace skein::test {
namespace {

Leaf make_leaf(Stream& stream, const Shape& shape, std::vector<float> values) {
    Leaf leaf;
    leaf.value = Tensor::from<float>(stream, shape, values);
    leaf.gradient = filled(stream, shape, 1e30f);  // stale
    return leaf;
}

/// factor · x, by way of the host.
Tensor product(Stream& stream, const Tensor& x, float factor) {
    std::vector<float> values = floats_of(stream, x);
    for (float& value : values) value *= factor;
    return Tensor::from<float>(stream, x.shape(), values);
}

/// y = factor · x as an op of this test: its gradient is passed as a tensor of its own.
Var scaled(const Var& x, float factor) {
    return x.tape().record(product(x.tape().stream(), x.value(), factor), {x},
                           [node = NodeRef(x), factor](Tape& tape, const Tensor& dy) {
                               tape.pass_gradient(node, product(tape.stream(), dy, factor));
                           });
}

Tensor ones(Stream& stream, std::int64_t count) {
    return Tensor::from<float>(stream, {count}, std::vector<float>(static_cast<std::size_t>(count), 1.0f));
}

TEST(Tape, ALeafUsedTwiceSumsBothAndIsFinalOnlyAfterItsFirstUse) {
    Stream stream(test_gpu(), 1);
    Leaf twice = make_leaf(stream, {2}, {1, 2}), once = make_leaf(stream, {2}, {3, 4});
    std::vector<const Leaf*> final_leaves;
    int ops_done = 0;
    std::vector<int> final_after;
    Tape tape(stream);
    tape.on_leaf_final = [&](Leaf& leaf) {
        final_leaves.push_back(&leaf);
        final_after.push_back(ops_done);
    };
    tape.after_op = [&] { ++ops_done; };
    // ops in order: 0: a = 2·twice, 1: b = a + once, 2: c = 3·twice (another Var of the leaf), 3: d = b + c
    const Var a = scaled(tape.leaf(twice), 2);
    const Var b = plus(a, tape.leaf(once));
    const Var c = scaled(tape.leaf(twice), 3);
    EXPECT_EQ(twice.pending_uses, 2);
    tape.backward(plus(b, c), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, twice.gradient), (std::vector<float>{5, 5}));
    EXPECT_EQ(floats_of(stream, once.gradient), (std::vector<float>{1, 1}));
    EXPECT_EQ(final_leaves, (std::vector<const Leaf*>{&once, &twice}));
    EXPECT_EQ(final_after,
              (std::vector<int>{2, 3}));  // ops go backwards: 3, 2, 1 makes once final, 0 makes twice
    EXPECT_EQ(ops_done, 4);
    EXPECT_EQ(twice.pending_uses, 0);
}

TEST(Tape, ALeafTwiceInOneOpCountsTwiceAndIsFinalOnce) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    int finals = 0;
    Tape tape(stream);
    tape.on_leaf_final = [&](Leaf&) { ++finals; };
    const Var x = tape.leaf(leaf);
    tape.backward(plus(x, x), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{2, 2}));
    EXPECT_EQ(finals, 1);
}

TEST(Tape, LeavesBecomeFinalInTheReverseOrderOfTheirUse) {
    Stream stream(test_gpu(), 1);
    std::vector<Leaf> leaves;
    for (int i = 0; i < 4; ++i) leaves.push_back(make_leaf(stream, {3, 3}, random_floats(9, 5)));
    Tape tape(stream);
    std::vector<std::ptrdiff_t> order;
    tape.on_leaf_final = [&](Leaf& leaf) { order.push_back(&leaf - leaves.data()); };
    Var x = tape.constant(Tensor::from<float>(stream, {2, 3}, random_floats(6, 1)));
    for (Leaf& leaf : leaves) x = linear(x, tape.leaf(leaf));
    tape.backward(x, Tensor::from<float>(stream, {2, 3}, random_floats(6, 2)));
    EXPECT_EQ(order, (std::vector<std::ptrdiff_t>{3, 2, 1, 0}));
}

TEST(Tape, GradientsOfTwoTapesAddUpAndTheFirstAfterClearingOverwrites) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    for (int pass = 1; pass <= 2; ++pass) {
        Tape tape(stream);
        tape.backward(scaled(tape.leaf(leaf), 3), ones(stream, 2));
        EXPECT_EQ(floats_of(stream, leaf.gradient), std::vector<float>(2, 3.0f * static_cast<float>(pass)));
    }
    leaf.accumulate = false;
    Tape tape(stream);
    tape.backward(scaled(tape.leaf(leaf), 4), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{4, 4}));
}

TEST(Tape, ALeafOnTwoOpenTapesIsFinalAfterTheLastOfThem) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    Tape first(stream), second(stream);
    int finals = 0;
    first.on_leaf_final = second.on_leaf_final = [&](Leaf&) { ++finals; };
    const Var a = scaled(first.leaf(leaf), 1), b = scaled(second.leaf(leaf), 1);
    first.backward(a, ones(stream, 2));
    EXPECT_EQ(finals, 0);
    second.backward(b, ones(stream, 2));
    EXPECT_EQ(finals, 1);
}

TEST(Tape, ATapeDroppedWithoutBackwardForgetsItsUses) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    {
        Tape tape(stream);
        scaled(scaled(tape.leaf(leaf), 1), 1);
        EXPECT_EQ(leaf.pending_uses, 1);
    }
    EXPECT_EQ(leaf.pending_uses, 0);
    EXPECT_FALSE(leaf.accumulate);
}

TEST(Tape, BranchesThatTheResultDoesNotUseSendNothingButFinishTheirUses) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2}), unused = make_leaf(stream, {2}, {1, 2});
    Tape tape(stream);
    const Var dead = scaled(tape.leaf(unused), 7);
    tape.backward(scaled(tape.leaf(leaf), 3), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{3, 3}));
    EXPECT_FALSE(unused.accumulate);
    EXPECT_EQ(unused.pending_uses, 0);
}

TEST(Tape, ASharedGradientIsCopiedBeforeItIsAddedTo) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 1});
    Tape tape(stream);
    const Var x = scaled(tape.leaf(leaf), 1);
    const Var a = scaled(x, 10), b = scaled(x, 100);
    const Var sum = plus(a, b);
    const Var more = scaled(a, 1000);
    // walked back: more gives a a tensor of its own, to which sum adds, while b takes sum's
    tape.backward(plus(sum, more), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{10 * 1001 + 100, 10 * 1001 + 100}));

    leaf.accumulate = false;
    Tape other(stream);
    const Var y = scaled(other.leaf(leaf), 1);
    const Var c = scaled(y, 10), d = scaled(y, 100);
    const Var late = scaled(c, 1000);
    // walked back: the root and plus(c, d) give c, d and late one tensor; late adds to c's, which d has yet
    // to read
    const Var both = plus(c, d);
    other.backward(plus(both, late), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{10 * 1001 + 100, 10 * 1001 + 100}));
}

TEST(Tape, TheSeedStaysAsTheCallerGaveIt) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 1});
    const Tensor seed = ones(stream, 2);
    Tape tape(stream);
    const Var x = scaled(tape.leaf(leaf), 1), y = scaled(x, 2);
    tape.backward(plus(x, plus(y, x)), seed);
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{4, 4}));
    EXPECT_EQ(floats_of(stream, seed), (std::vector<float>{1, 1}));
}

TEST(Tape, WhatOpsSavedIsFreedWhileBackwardGoesOn) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {64, 64}, random_floats(64 * 64, 1));
    Tape tape(stream);
    Var x = tape.constant(Tensor::from<float>(stream, {512, 64}, random_floats(512 * 64, 2)));
    constexpr int kLayers = 6;
    for (int i = 0; i < kLayers; ++i) x = linear(x, tape.leaf(weight));
    const std::size_t activation = 512 * 64 * sizeof(float);
    std::vector<std::size_t> in_use;
    tape.after_op = [&] { in_use.push_back(stream.pool().statistics().in_use); };
    const Tensor seed = Tensor::from<float>(stream, x.shape(), random_floats(512 * 64, 3));
    const Var root = x;
    x = {};
    tape.backward(root, seed);
    // each linear's backward frees the input it saved, and its gradient once the next one has it
    ASSERT_EQ(in_use.size(), kLayers + 1u);  // the constant counts as an op without inputs
    for (std::size_t i = 1; i < in_use.size() - 2; ++i) EXPECT_EQ(in_use[i - 1] - in_use[i], activation) << i;
}

TEST(Tape, AnInferenceTapeRecordsNothingAndFreesAsItGoes) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {64, 64}, random_floats(64 * 64, 1));
    Tape tape(stream, Tape::Mode::kInference);
    const std::size_t before = stream.pool().statistics().in_use;
    Var x = tape.constant(Tensor::from<float>(stream, {512, 64}, random_floats(512 * 64, 2)));
    const auto held = std::make_shared<int>(0);
    for (int i = 0; i < 8; ++i) x = linear(x, tape.leaf(weight));
    x = tape.record(x.value(), {x}, [held](Tape&, const Tensor&) {});
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_EQ(weight.pending_uses, 0);
    EXPECT_EQ(stream.pool().statistics().in_use - before, 512 * 64 * sizeof(float));
    EXPECT_THROW(tape.backward(x, x.value()), ShapeError);
}

TEST(Tape, OpsOfConstantsKeepNoBackward) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const auto held = std::make_shared<int>(0);
    const Var x = tape.constant(ones(stream, 2));
    const Var y = tape.record(x.value(), {x}, [held](Tape&, const Tensor&) {});
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_FALSE(tape.needs_gradient(y));
}

TEST(Tape, RefusesASeedOfAnotherShape) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    Tape tape(stream);
    EXPECT_THROW(tape.backward(scaled(tape.leaf(leaf), 1), ones(stream, 3)), ShapeError);
}

TEST(Tape, AnInputsGradientIsTheSumOfItsUses) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const Var x = tape.input(ones(stream, 2)), unused = tape.input(ones(stream, 2));
    EXPECT_TRUE(tape.needs_gradient(x));
    EXPECT_FALSE(tape.gradient_of(x));
    tape.backward(plus(scaled(x, 10), plus(x, scaled(scaled(x, 3), 5))), ones(stream, 2));
    EXPECT_EQ(floats_of(stream, tape.gradient_of(x)), (std::vector<float>{26, 26}));
    EXPECT_FALSE(tape.gradient_of(unused));
}

TEST(Tape, AnInputMayBeTheRoot) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const Var x = tape.input(ones(stream, 2));
    tape.backward(x, filled(stream, {2}, 7.0f));
    EXPECT_EQ(floats_of(stream, tape.gradient_of(x)), (std::vector<float>{7, 7}));
}

TEST(Tape, AnInputsGradientHasItsDType) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const std::vector<Bf16> values{from_float<Bf16>(1.0f), from_float<Bf16>(2.0f)};
    const Var x = tape.input(Tensor::from<Bf16>(stream, {2}, values));
    const Var y = tape.record(x.value(), {x}, [node = NodeRef(x)](Tape& t, const Tensor& dy) {
        t.pass_gradient(node, dy);
        t.pass_gradient(node, filled(t.stream(), {2}, 0.5f));
    });
    tape.backward(y, x.value());
    EXPECT_EQ(tape.gradient_of(x).dtype(), DType::bf16);
    EXPECT_EQ(values_of<Bf16>(stream, tape.gradient_of(x)),
              (std::vector<Bf16>{from_float<Bf16>(1.5f), from_float<Bf16>(2.5f)}));
}

/// Backward from the roots with their seeds of all ones times a factor; an empty one where it is 0.
void backward_from(Tape& tape, const std::vector<Var>& roots, const std::vector<float>& factors) {
    std::vector<Tensor> seeds;
    for (const float factor : factors)
        seeds.push_back(factor == 0.0f ? Tensor{} : filled(tape.stream(), {2}, factor));
    tape.backward(roots, seeds);
}

TEST(Tape, SeveralRootsAddUp) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2});
    int finals = 0;
    const auto gradient = [&](const std::vector<float>& factors) {
        leaf.accumulate = false;
        Tape tape(stream);
        tape.on_leaf_final = [&](Leaf&) { ++finals; };
        const Var x = scaled(tape.leaf(leaf), 2), y = scaled(x, 3), z = scaled(tape.leaf(leaf), 5);
        backward_from(tape, {z, x, y, y}, factors);  // x on the way from y; y twice; in any order
        EXPECT_EQ(leaf.pending_uses, 0);
        return leaf.accumulate ? floats_of(stream, leaf.gradient)[0] : 0.0f;
    };
    EXPECT_EQ(gradient({1, 10, 100, 1000}), 5 * 1 + 2 * 10 + 6 * 1100);
    EXPECT_EQ(gradient({0, 10, 0, 1000}), 2 * 10 + 6 * 1000);
    EXPECT_EQ(gradient({1, 0, 0, 0}), 5);
    EXPECT_EQ(finals, 3);
    EXPECT_EQ(gradient({0, 0, 0, 0}), 0);  // nothing is written, and the uses are over
    EXPECT_EQ(finals, 4);
}

TEST(Tape, LeavesBehindTheLastRootThatIsReachedAreFinalToo) {
    Stream stream(test_gpu(), 1);
    Leaf leaf = make_leaf(stream, {2}, {1, 2}), unused = make_leaf(stream, {2}, {1, 2});
    std::vector<const Leaf*> final_leaves;
    Tape tape(stream);
    tape.on_leaf_final = [&](Leaf& one) { final_leaves.push_back(&one); };
    const Var x = scaled(tape.leaf(leaf), 2),
              y = plus(scaled(tape.leaf(unused), 3), scaled(tape.leaf(leaf), 3));
    backward_from(tape, {x, y}, {1, 0});
    EXPECT_EQ(final_leaves, (std::vector<const Leaf*>{&unused, &leaf}));
    EXPECT_FALSE(unused.accumulate);
    EXPECT_EQ(floats_of(stream, leaf.gradient), (std::vector<float>{2, 2}));
}

TEST(Tape, OneSeedForSeveralRootsStaysAsTheCallerGaveIt) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const Var x = tape.input(ones(stream, 2)), y = scaled(x, 2);
    const Tensor seed = ones(stream, 2);
    const std::vector<Var> roots{x, y, x};
    const std::vector<Tensor> seeds(3, seed);
    tape.backward(roots, seeds);
    EXPECT_EQ(floats_of(stream, tape.gradient_of(x)), (std::vector<float>{4, 4}));
    EXPECT_EQ(floats_of(stream, seed), (std::vector<float>{1, 1}));
}

TEST(Tape, RefusesSeveralRootsWithASeedOfAnotherShapeOrWithoutARecord) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream);
    const std::vector<Var> roots{tape.input(ones(stream, 2))};
    const std::vector<Tensor> seeds{ones(stream, 3)}, right{ones(stream, 2)};
    EXPECT_THROW(tape.backward(roots, seeds), ShapeError);
    for (const Tape::Mode mode : {Tape::Mode::kInference, Tape::Mode::kCountUses}) {
        Tape other(stream, mode);
        const std::vector<Var> others{other.constant(ones(stream, 2))};
        EXPECT_THROW(other.backward(others, right), ShapeError);
    }
}

TEST(Tape, ATapeThatCountsUsesKeepsNothingElse) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {64, 64}, random_floats(64 * 64, 1));
    {
        Tape tape(stream, Tape::Mode::kCountUses);
        EXPECT_FALSE(tape.records());
        EXPECT_TRUE(tape.trains());
        const std::size_t before = stream.pool().statistics().in_use;
        Var x = tape.constant(Tensor::from<float>(stream, {512, 64}, random_floats(512 * 64, 2)));
        for (int i = 0; i < 8; ++i) x = linear(x, tape.leaf(weight));
        EXPECT_EQ(stream.pool().statistics().in_use - before, 512 * 64 * sizeof(float));
        EXPECT_EQ(weight.pending_uses, 8);
    }
    EXPECT_EQ(weight.pending_uses, 0);
}

}  // namespace
}  // namespace skein::test
