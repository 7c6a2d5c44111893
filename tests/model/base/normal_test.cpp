#include "model/base/normal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace skein {
namespace {

constexpr double kUnit = 0x1p-52;

TEST(Normal, LogarithmIsWithinTwoUnitsOfTheLibrarys) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 200000; ++i) {
        const double share = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
        for (const double x : {share, 1.0 - share * 1e-6, share * 0x1p-30, share * 1e300}) {
            const double wanted = std::log(x);
            ASSERT_NEAR(log_of(x), wanted, 2.0 * kUnit * std::abs(wanted)) << x;
        }
    }
    EXPECT_EQ(log_of(1.0), 0.0);
}

TEST(Normal, SineAndCosineAreWithinTwoUnitsOfTheLibrarys) {
    std::mt19937_64 random(2);
    for (int i = 0; i < 200000; ++i) {
        const double turn = static_cast<double>(random() >> 11) * 0x1p-53;
        const auto [sine, cosine] = sine_cosine_of_turn(turn);
        // the library's argument is off by half a unit of up to 2π
        ASSERT_NEAR(sine, std::sin(2.0 * std::numbers::pi * turn), 4.0 * kUnit) << turn;
        ASSERT_NEAR(cosine, std::cos(2.0 * std::numbers::pi * turn), 4.0 * kUnit) << turn;
        ASSERT_NEAR(sine * sine + cosine * cosine, 1.0, 4.0 * kUnit) << turn;
    }
    EXPECT_EQ(sine_cosine_of_turn(0.0).cosine, 1.0);
    EXPECT_EQ(sine_cosine_of_turn(0.25).sine, 1.0);
    EXPECT_EQ(sine_cosine_of_turn(0.5).cosine, -1.0);
    EXPECT_EQ(sine_cosine_of_turn(0.75).sine, -1.0);
    EXPECT_EQ(sine_cosine_of_turn(1.0).cosine, 1.0);
}

TEST(Normal, VariatesHaveTheMomentsOfANormalAndPairsAreIndependent) {
    const PhiloxKey key{7, 1};
    constexpr int kCount = 200000;
    double mean = 0.0, square = 0.0, fourth = 0.0, product = 0.0, last = 0.0;
    for (int i = 0; i < kCount; ++i) {
        const NormalParts parts = normal_parts_at(key, i);
        const double x = std::sqrt(parts.radius_square) * parts.direction;
        mean += x / kCount;
        square += x * x / kCount;
        fourth += x * x * x * x / kCount;
        if (i % 2 == 1) product += x * last / (kCount / 2.0);
        last = x;
    }
    // five standard errors: 1, √2, √96 and √2 over the root of the count
    const double error = 5.0 / std::sqrt(static_cast<double>(kCount));
    EXPECT_NEAR(mean, 0.0, error);
    EXPECT_NEAR(square, 1.0, std::numbers::sqrt2 * error);
    EXPECT_NEAR(fourth, 3.0, std::sqrt(96.0) * error);
    EXPECT_NEAR(product, 0.0, std::numbers::sqrt2 * error);
}

}  // namespace
}  // namespace skein
