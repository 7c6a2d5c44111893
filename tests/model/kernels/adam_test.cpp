#include "model/kernels/adam.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;

/// Ten updates against the formula in fp64.
void check(float coupled_decay, float decoupled_decay, float gradient_scale) {
    constexpr std::int64_t kCount = 40'003;  // several blocks and an odd rest
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
        AdamArgs args;
        args.count = kCount;
        args.gradient = gradient.data();
        args.rate = 1e-2f;
        args.beta1 = 0.9f;
        args.beta2 = 0.99f;
        args.epsilon = 1e-8f;
        args.correction1 = static_cast<float>(1.0 - std::pow(0.9, update));
        args.correction2 = static_cast<float>(1.0 - std::pow(0.99, update));
        args.coupled_decay = coupled_decay;
        args.decoupled_decay = decoupled_decay;
        args.gradient_scale = gradient_scale;
        for (int threads = 1; threads <= 3; ++threads) {
            State& state = at(states, threads - 1);
            args.parameter = state.p.data();
            args.moment1 = state.m.data();
            args.moment2 = state.v.data();
            CpuStream stream{threads, nullptr};
            adam(stream, args);
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
    AdamArgs args;
    args.count = 1;
    args.parameter = p.data();
    args.gradient = g.data();
    args.moment1 = m.data();
    args.moment2 = v.data();
    args.rate = 0.1f;
    args.correction1 = 0.1f;
    args.correction2 = 0.001f;
    CpuStream stream{1, nullptr};
    adam(stream, args);
    EXPECT_EQ(p[0], 1.5f);
}

}  // namespace
}  // namespace skein::kernels
