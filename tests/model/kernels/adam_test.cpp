#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/kernels/adam_list.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;

/// Ten updates against the formula in fp64.
void check(float coupled_decay, float decoupled_decay, float gradient_scale) {
    constexpr std::int64_t kCount = 140'003;  // several blocks and an odd rest
    const std::vector<float> start = random_floats(kCount, 1);
    std::vector<double> p(start.begin(), start.end()), m(start.size()), v(start.size());
    struct State {
        std::vector<float> p, m, v;
        bool operator==(const State&) const = default;
    };
    std::vector<State> states(
        3, State{start, std::vector<float>(start.size()), std::vector<float>(start.size())});
    for (int update = 1; update <= 10; ++update) {
        const std::vector<float> gradient =
            random_floats(kCount, 100 + static_cast<std::uint32_t>(update), 0.01f);
        StepEnd end;
        end.rate = 1e-2f;
        end.correction1 = static_cast<float>(1.0 - std::pow(0.9, update));
        end.correction2 = static_cast<float>(1.0 - std::pow(0.99, update));
        end.gradient_scale = gradient_scale;
        for (int threads = 1; threads <= 3; ++threads) {
            State& state = at(states, threads - 1);
            const test::AdamTensors tensors(
                {{kCount, state.p.data(), nullptr, gradient.data(), state.m.data(), state.v.data(),
                  coupled_decay, decoupled_decay}});
            CpuStream stream{threads, nullptr};
            adam(stream, {tensors.list, &end, 0.9f, 0.99f, 1e-8f});
        }
        for (std::int64_t i = 0; i < kCount; ++i) {
            const double g = static_cast<double>(at(gradient, i)) * static_cast<double>(gradient_scale) +
                             static_cast<double>(coupled_decay) * at(p, i);
            at(m, i) = 0.9 * at(m, i) + 0.1 * g;
            at(v, i) = 0.99 * at(v, i) + 0.01 * g * g;
            const double step = 1e-2 * (at(m, i) / (1.0 - std::pow(0.9, update))) /
                                (std::sqrt(at(v, i) / (1.0 - std::pow(0.99, update))) + 1e-8);
            at(p, i) -= 1e-2 * static_cast<double>(decoupled_decay) * at(p, i) + step;
        }
    }
    EXPECT_EQ(states[1], states[0]);
    EXPECT_EQ(states[2], states[0]);
    for (std::int64_t i = 0; i < kCount; ++i)
        // an update moves by about 1e-2, right to 1e-5 of it; the parameter itself rounds ten times
        ASSERT_NEAR(static_cast<double>(at(states[0].p, i)), at(p, i), 2e-6 + 1e-6 * std::abs(at(p, i)));
}

TEST(Adam, MatchesTheFormulaInFp64ForAnyNumberOfThreads) {
    check(0.0f, 0.0f, 1.0f);
}

TEST(Adam, CoupledDecayEntersTheGradientAndItsMoments) {
    check(0.1f, 0.0f, 1.0f);
}

TEST(Adam, DecoupledDecayShrinksTheParameterOnly) {
    check(0.0f, 0.1f, 1.0f);
}

TEST(Adam, TheGradientIsScaledBeforeItsMoments) {
    check(0.0f, 0.1f, 0.3f);
}

TEST(Adam, AZeroGradientAtTheStartMovesNothing) {
    std::vector<float> p{1.5f}, g{0.0f}, m{0.0f}, v{0.0f};
    const test::AdamTensors tensors({{1, p.data(), nullptr, g.data(), m.data(), v.data(), 0.0f, 0.0f}});
    StepEnd end;
    end.rate = 0.1f;
    end.correction1 = 0.1f;
    end.correction2 = 0.001f;
    CpuStream stream{1, nullptr};
    adam(stream, {tensors.list, &end});
    EXPECT_EQ(p[0], 1.5f);
}

TEST(Adam, ASkippedStepChangesNothing) {
    std::vector<float> p{1.5f}, g{2.0f}, m{0.5f}, v{0.25f};
    const test::AdamTensors tensors({{1, p.data(), nullptr, g.data(), m.data(), v.data(), 0.1f, 0.1f}});
    StepEnd end;
    end.rate = 0.1f;
    end.skipped = 1;
    CpuStream stream{1, nullptr};
    adam(stream, {tensors.list, &end});
    EXPECT_EQ(p[0], 1.5f);
    EXPECT_EQ(m[0], 0.5f);
    EXPECT_EQ(v[0], 0.25f);
}

TEST(GradientSquareSums, AreThoseOfEachTensorsBlocks) {
    const std::vector<std::int64_t> counts{1, kNormBlock, 3 * kNormBlock + 5, 40};
    std::vector<std::vector<float>> gradients;
    std::vector<AdamTensor> all;
    std::vector<double> wanted;
    CpuStream one{1, nullptr}, three{3, nullptr};
    for (const std::int64_t count : counts) {
        gradients.push_back(random_floats(count, static_cast<std::uint32_t>(count)));
        all.push_back({.count = count, .gradient = gradients.back().data()});
        std::vector<double> sums(static_cast<std::size_t>((count + kNormBlock - 1) / kNormBlock));
        block_square_sums(one, gradients.back().data(), count, sums.data());
        wanted.insert(wanted.end(), sums.begin(), sums.end());
    }
    const test::AdamTensors tensors(all);
    ASSERT_EQ(tensors.blocks.size(), wanted.size());
    std::vector<double> found(wanted.size());
    gradient_square_sums(three, tensors.list, found.data());
    EXPECT_EQ(found, wanted);
}

/// A step that ends with these losses and squares.
StepEnd end_of(UpdateState& state, const std::vector<double>& losses, const std::vector<double>& squares,
               EndStepArgs args) {
    StepEnd end;
    args.losses = losses.data();
    args.samples = static_cast<std::int64_t>(losses.size());
    args.square_sums = squares.data();
    args.blocks = static_cast<std::int64_t>(squares.size());
    args.state = &state;
    args.end = &end;
    CpuStream stream{1, nullptr};
    end_step(stream, args);
    return end;
}

TEST(EndOfStep, NormIsClippedAndTheUpdateIsCounted) {
    UpdateState state;
    EndStepArgs args;
    args.tokens = 4;
    args.clip = 2.5;
    args.rate[0] = 0.5f, args.rate[1] = 0.25f;
    args.correction1[0] = 0.1f, args.correction1[1] = 0.2f;
    StepEnd end = end_of(state, {1.0, 2.0, 3.0}, {16.0, 9.0}, args);
    EXPECT_EQ(end.loss, 1.5);
    EXPECT_EQ(end.norm, 5.0);
    EXPECT_EQ(end.gradient_scale, 0.5f);
    EXPECT_EQ(end.rate, 0.5f);
    EXPECT_EQ(end.skipped, 0);
    EXPECT_EQ(state.updates, 1);
    // the host does not know yet that this update was made: it offers two
    end = end_of(state, {1.0}, {4.0}, args);
    EXPECT_EQ(end.gradient_scale, 1.0f) << "within the clip";
    EXPECT_EQ(end.rate, 0.25f);
    EXPECT_EQ(end.correction1, 0.2f);
    args.clip = 0.0;
    EXPECT_EQ(end_of(state, {1.0}, {1e30}, args).gradient_scale, 1.0f) << "no clip";
}

TEST(EndOfStep, WhatIsNotFiniteIsSkippedAndLowersTheLossScale) {
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        UpdateState state;
        state.loss_scale.scale = 1024.0;
        EndStepArgs args;
        args.clip = 1.0;
        args.scales_loss = true;
        StepEnd end = end_of(state, {1.0, bad}, {4.0}, args);
        EXPECT_EQ(end.skipped, 1);
        EXPECT_EQ(state.updates, 0);
        EXPECT_EQ(state.loss_scale.scale, 512.0);
        EXPECT_EQ(state.gradient_scale, 512.0f);
        EXPECT_EQ(end.before.loss_scale.scale, 1024.0);
        end = end_of(state, {1.0}, {1.0, bad}, args);
        EXPECT_EQ(end.skipped, 1);
        EXPECT_EQ(state.loss_scale.scale, 256.0);
        args.scales_loss = false;
        end = end_of(state, {1.0}, {bad}, args);
        EXPECT_EQ(end.skipped, 1);
        EXPECT_EQ(state.loss_scale.scale, 256.0) << "only fp16 has one";
        end = end_of(state, {1.0}, {256.0 * 256.0 * 4.0}, args);
        EXPECT_EQ(end.norm, 2.0) << "without the loss scale";
        EXPECT_EQ(end.gradient_scale, 0.5f / 256.0f);
        EXPECT_EQ(state.updates, 1);
    }
}

}  // namespace
}  // namespace skein::kernels
