#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "model/base/philox.h"

/// Logarithm, sine and cosine in fp64 from additions, multiplications and divisions alone, so that they give
/// the same bits with any library and on any device. Accurate to about two units in the last place.
namespace skein {

/// ln x for a finite, normal x > 0: x = 2^e f with f in [1/√2, √2), ln f = 2 artanh((f - 1) / (f + 1)) as its
/// series, whose first term left out is below 2^-70.
constexpr double log_of(double x) {
    const auto bits = std::bit_cast<std::uint64_t>(x);
    auto exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
    double f = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    if (f > 1.4142135623730951) {
        f *= 0.5;
        exponent += 1;
    }
    const double s = (f - 1.0) / (f + 1.0), square = s * s;
    double series = 1.0 / 25.0;
    for (int n = 23; n >= 3; n -= 2) series = series * square + 1.0 / n;
    // ln 2 in two parts, of which the first times any exponent is exact
    const auto e = static_cast<double>(exponent);
    return e * 0x1.62e42fefa38p-1 + (e * 0x1.ef35793c7673p-45 + (2.0 * s + 2.0 * s * square * series));
}

struct SineCosine {
    double sine, cosine;
};

/// Sine and cosine of 2π · turn for turn in [0, 1]: the nearest quarter turn, and Taylor's series of what is
/// left, at most π/4.
constexpr SineCosine sine_cosine_of_turn(double turn) {
    const double quarters = turn * 4.0;
    const auto quadrant = static_cast<int>(quarters + 0.5);
    const double x = (quarters - quadrant) * 1.5707963267948966, square = x * x;
    double sine = 1.0, cosine = 1.0;
    for (int n = 18; n >= 2; n -= 2) {
        sine = 1.0 - sine * square / (n * (n + 1.0));
        cosine = 1.0 - cosine * square / (n * (n - 1.0));
    }
    sine *= x;
    switch (quadrant % 4) {
        case 0:
            return {sine, cosine};
        case 1:
            return {cosine, -sine};
        case 2:
            return {-sine, -cosine};
        default:
            return {-cosine, sine};
    }
}

/// A normal variate is sqrt(radius_square) · direction: Box and Muller (1958), 53-bit uniforms, two variates
/// a block: elements 2j and 2j + 1 take block j. The root, correctly rounded everywhere, is left to the
/// caller.
struct NormalParts {
    double radius_square, direction;
};
constexpr NormalParts normal_parts_at(PhiloxKey key, std::int64_t index) {
    const PhiloxBlock words = philox_at(static_cast<std::uint64_t>(index / 2), key);
    const double radius_word = (words[0] + 0.5) * 0x1p-32 + words[1] * 0x1p-64;  // in (0, 1 + 2^-33)
    const double radius_square = -2.0 * log_of(radius_word);
    const SineCosine direction = sine_cosine_of_turn(words[2] * 0x1p-32 + words[3] * 0x1p-64);
    return {radius_square > 0.0 ? radius_square : 0.0, index % 2 == 0 ? direction.cosine : direction.sine};
}

/// Uniform in (0, 1); elements 4j ... 4j + 3 take block j.
constexpr double uniform_at(PhiloxKey key, std::int64_t index) {
    const PhiloxBlock words = philox_at(static_cast<std::uint64_t>(index / 4), key);
    return (words[static_cast<std::size_t>(index % 4)] + 0.5) * 0x1p-32;
}

}  // namespace skein
