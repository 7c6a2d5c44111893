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

}  // namespace
}  // namespace skein::test
