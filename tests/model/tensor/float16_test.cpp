#include "model/tensor/float16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace skein {
namespace {

/// What the bits of a format with `fraction_bits` bits of fraction below `exponent_bits` of exponent mean,
/// from the definition of IEEE 754.
double value_of(std::uint32_t bits, int exponent_bits, int fraction_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const std::uint32_t fraction = bits & ((1u << fraction_bits) - 1u);
    const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const double sign = (bits >> (exponent_bits + fraction_bits)) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sign * std::numeric_limits<double>::infinity();
    const int scale = (exponent == 0 ? 1 : exponent) - bias - fraction_bits;
    const std::uint32_t whole = exponent == 0 ? fraction : fraction | 1u << fraction_bits;
    return sign * std::ldexp(static_cast<double>(whole), scale);
}

struct Bf16Format {
    using Type = Bf16;
    static constexpr int kExponent = 8, kFraction = 7;
};
struct F16Format {
    using Type = F16;
    static constexpr int kExponent = 5, kFraction = 10;
};

template <class Format>
class Float16 : public ::testing::Test {
  protected:
    using T = typename Format::Type;
    static double value(std::uint32_t bits) { return value_of(bits, Format::kExponent, Format::kFraction); }

    /// The positive values in order, infinity last; the bits of one are its place.
    static std::vector<double> values() {
        std::vector<double> all;
        for (std::uint32_t bits = 0; !std::isinf(value(bits)); ++bits) all.push_back(value(bits));
        // where the next value would stand if the exponents went on: what rounds to it is infinity
        all.push_back(std::ldexp(1.0, 1 << (Format::kExponent - 1)));
        return all;
    }

    /// The nearest of them; of two equally near ones that with an even last bit.
    static std::uint16_t nearest(float x, const std::vector<double>& all) {
        const double size = std::abs(static_cast<double>(x));
        const std::uint32_t sign = std::signbit(x) ? 0x8000u : 0u;
        auto above = static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), size) - all.begin());
        if (above == all.size()) --above;
        std::size_t chosen = above;
        if (above > 0 && size < all[above]) {
            const double up = all[above] - size, down = size - all[above - 1];
            chosen = down < up || (down == up && above % 2 != 0) ? above - 1 : above;
        }
        return static_cast<std::uint16_t>(sign | chosen);
    }
};
using Formats = ::testing::Types<Bf16Format, F16Format>;
TYPED_TEST_SUITE(Float16, Formats);

TYPED_TEST(Float16, EveryValueIsWhatItsBitsMeanAndComesBack) {
    using Element = typename TypeParam::Type;
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const Element x{static_cast<std::uint16_t>(bits)};
        const double wanted = this->value(bits);
        if (std::isnan(wanted)) {
            ASSERT_TRUE(std::isnan(to_float(x)));
            ASSERT_EQ(from_float<Element>(to_float(x)).bits, 0x7FFF);
        } else {
            ASSERT_EQ(static_cast<double>(to_float(x)), wanted) << bits;
            ASSERT_EQ(std::signbit(to_float(x)), bits >= 0x8000) << bits;
            ASSERT_EQ(from_float<Element>(to_float(x)).bits, bits);
        }
    }
}

TYPED_TEST(Float16, RoundsToTheNearestAndTiesToEven) {
    using Element = typename TypeParam::Type;
    const std::vector<double> all = this->values();
    const auto check = [&](float x) {
        ASSERT_EQ(from_float<Element>(x).bits, this->nearest(x, all)) << x;
        ASSERT_EQ(from_float<Element>(-x).bits, this->nearest(-x, all)) << -x;
    };
    // the middle between each two neighbours, and the floats on both sides of it
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
        const auto middle = static_cast<float>((all[i] + all[i + 1]) / 2.0);
        check(middle);
        check(std::nextafter(middle, 0.0f));
        check(std::nextafter(middle, std::numeric_limits<float>::infinity()));
    }
    std::mt19937 random(1);
    for (int i = 0; i < 200000; ++i) {
        const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random()) & 0x7FFFFFFFu);
        if (!std::isnan(x)) check(x);
    }
    check(0.0f);
    check(std::numeric_limits<float>::max());
    check(std::numeric_limits<float>::infinity());
    check(std::numeric_limits<float>::denorm_min());
}

TEST(Float16Limits, AreThoseOfTheFormats) {
    EXPECT_EQ(to_float(to_f16(65519.0f)), 65504.0f);
    EXPECT_TRUE(std::isinf(to_float(to_f16(65520.0f))));
    EXPECT_EQ(to_float(to_f16(0x1p-24f)), 0x1p-24f);
    EXPECT_EQ(to_float(to_f16(0x1p-25f)), 0.0f);
    EXPECT_EQ(to_float(to_bf16(1.00390625f)), 1.0f);
    EXPECT_EQ(DTypeOf<Bf16>::value, DType::bf16);
    EXPECT_EQ(DTypeOf<F16>::value, DType::f16);
    static_assert(to_float(to_f16(0.5f)) == 0.5f, "a constant expression");
}

}  // namespace
}  // namespace skein
