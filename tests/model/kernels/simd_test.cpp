#include "model/kernels/cpu/simd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace skein::kernels::simd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// How far `found` is from `exact`, in units of the last place of `exact`.
double ulps(float found, double exact) {
    int exponent = 0;
    std::frexp(exact, &exponent);
    return std::abs(found - exact) / std::ldexp(1.0, exponent - 24);
}

/// Calls check(x, f(x)) for `count` values spread evenly over [from, to], in changing lanes.
template <class F, class Check>
void over(float from, float to, int count, F f, Check check) {
    for (int i = 0; i < count; i += 8) {
        F8 x;
        for (int lane = 0; lane < 8; ++lane) {
            const double share = static_cast<double>(i + lane) / count;
            x[lane] = static_cast<float>(from + (static_cast<double>(to) - from) * share);
        }
        const F8 y = f(x);
        for (int lane = 0; lane < 8; ++lane) check(x[lane], y[lane]);
    }
}

TEST(Simd, ExpIsWithinTwoUnitsInTheLastPlace) {
    double worst = 0;
    over(
        -87.3f, 88.29f, 4'000'000, [](F8 x) { return exp(x); },
        [&](float x, float y) { worst = std::max(worst, ulps(y, std::exp(static_cast<double>(x)))); });
    over(
        -0.5f, 0.5f, 1'000'000, [](F8 x) { return exp(x); },
        [&](float x, float y) { worst = std::max(worst, ulps(y, std::exp(static_cast<double>(x)))); });
    EXPECT_LT(worst, 2.0);
    RecordProperty("worst_ulps", std::to_string(worst));
}

TEST(Simd, ExpIsRightAtTheEdges) {
    EXPECT_EQ(exp(splat(0.0f))[0], 1.0f);
    EXPECT_EQ(exp(splat(-0.0f))[0], 1.0f);
    EXPECT_EQ(exp(splat(-kInfinity))[0], 0.0f);
    EXPECT_EQ(exp(splat(-1000.0f))[0], 0.0f);
    EXPECT_TRUE(std::isfinite(exp(splat(kInfinity))[0]));
    EXPECT_GT(exp(splat(kInfinity))[0], 2e38f);
    EXPECT_TRUE(std::isnan(exp(splat(std::numeric_limits<float>::quiet_NaN()))[0]));
}

double exact_gelu(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double exact_gelu_derivative(double x) {
    const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

// A few roundings, and exp(-2u) whose argument of up to 20 is rounded: 2^-24 · (5 + 20) of the value at worst
// where the sigmoid is small; below 1e-7 it is counted absolutely.
TEST(Simd, GeluIsThatOfFp64) {
    over(
        -12.0f, 12.0f, 1'000'000, [](F8 x) { return gelu(x); },
        [](float x, float y) {
            const double exact = exact_gelu(x);
            ASSERT_NEAR(y, exact, 1e-7 + 1.5e-6 * std::abs(exact)) << "x = " << x;
        });
    EXPECT_EQ(gelu(splat(0.0f))[0], 0.0f);
    EXPECT_EQ(gelu(splat(100.0f))[0], 100.0f);
    EXPECT_NEAR(gelu(splat(-100.0f))[0], 0.0f, 1e-30f);
}

TEST(Simd, GeluDerivativeIsThatOfFp64) {
    over(
        -12.0f, 12.0f, 1'000'000, [](F8 x) { return gelu_derivative(x); },
        [](float x, float y) {
            const double exact = exact_gelu_derivative(x);
            ASSERT_NEAR(y, exact, 1e-6 + 1.5e-6 * std::abs(exact)) << "x = " << x;
        });
    EXPECT_EQ(gelu_derivative(splat(0.0f))[0], 0.5f);
    EXPECT_EQ(gelu_derivative(splat(100.0f))[0], 1.0f);
    EXPECT_NEAR(gelu_derivative(splat(-100.0f))[0], 0.0f, 1e-30f);
}

TEST(Simd, SigmoidIsThatOfFp64) {
    over(
        -80.0f, 80.0f, 1'000'000, [](F8 x) { return sigmoid(x); },
        [](float x, float y) {
            ASSERT_LT(ulps(y, 1 / (1 + std::exp(-static_cast<double>(x)))), 4.0)
                << "x = " << x;  // exp, a sum, a division
        });
}

TEST(Simd, AValueDoesNotDependOnItsLane) {
    const auto expect_lanes_equal = [](auto f) {
        for (float start : {-90.0f, -3.0f, -0.3f, 0.2f, 1.7f, 40.0f}) {
            F8 x;
            for (int i = 0; i < 8; ++i) x[i] = start + 0.37f * static_cast<float>(i);
            const F8 y = f(x);
            for (int i = 0; i < 8; ++i) {
                const F8 same = f(splat(x[i]));
                for (int lane = 0; lane < 8; ++lane) {
                    const float a = y[i], b = same[lane];
                    ASSERT_EQ(std::memcmp(&a, &b, sizeof a), 0);
                }
            }
        }
    };
    expect_lanes_equal([](F8 x) { return exp(x); });
    expect_lanes_equal([](F8 x) { return gelu(x); });
    expect_lanes_equal([](F8 x) { return gelu_derivative(x); });
    expect_lanes_equal([](F8 x) { return sigmoid(x); });
}

TEST(Simd, SumsAndPartsAreAsDocumented) {
    const F8 x = {1e8f, 1.0f, -1e8f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    EXPECT_EQ(sum(x), ((1e8f + 3.0f) + (-1e8f + 5.0f)) + ((1.0f + 4.0f) + (2.0f + 6.0f)));
    EXPECT_EQ(max(x), 1e8f);
    const float from[4] = {7, 8, 9, 10};
    const F8 part = load_partial(from, 3, -1.0f);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(part[i], i < 3 ? from[i] : -1.0f);
    const F8 first = first_lanes(x, 5, -1.0f);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(first[i], i < 5 ? x[i] : -1.0f);
    float to[4] = {0, 0, 0, 0};
    store_partial(to, part, 2);
    EXPECT_EQ(to[1], 8.0f);
    EXPECT_EQ(to[2], 0.0f);
}

}  // namespace
}  // namespace skein::kernels::simd
