#include "data/sha256.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace skein {
namespace {

/// The first 32 bits of the fractional part of a root of the n-th prime: integer roots, so that the constants
/// of FIPS 180-4 §4.2.2 and §5.3.3 are derived rather than typed.
constexpr std::uint32_t fraction_of_root(std::uint32_t prime, int degree) {
    // floor(root · 2^32) by bisection on integers of up to 2^36 · 2^36 · 2^36 < 2^128.
    using Wide = unsigned __int128;
    Wide low = 0, high = Wide{1} << 37;
    while (high - low > 1) {
        const Wide middle = (low + high) / 2;
        const bool below = degree == 2 ? middle * middle <= (Wide{prime} << 64)
                                       : middle * middle * middle <= (Wide{prime} << 96);
        (below ? low : high) = middle;
    }
    return static_cast<std::uint32_t>(low);
}

template <std::size_t kCount>
constexpr std::array<std::uint32_t, kCount> fractions(int degree) {
    std::array<std::uint32_t, kCount> out{};
    std::size_t found = 0;
    for (std::uint32_t n = 2; found < kCount; ++n) {
        bool is_prime = true;
        for (std::uint32_t d = 2; d * d <= n; ++d) is_prime = is_prime && n % d != 0;
        if (is_prime) out[found++] = fraction_of_root(n, degree);
    }
    return out;
}

constexpr auto kRounds = fractions<64>(3);
constexpr auto kStart = fractions<8>(2);
static_assert(kRounds[0] == 0x428a2f98 && kStart[0] == 0x6a09e667);

void compress(std::array<std::uint32_t, 8>& state, const unsigned char* block) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 16; ++i)
        w[i] = std::uint32_t{block[4 * i]} << 24 | std::uint32_t{block[4 * i + 1]} << 16 |
               std::uint32_t{block[4 * i + 2]} << 8 | std::uint32_t{block[4 * i + 3]};
    for (std::size_t i = 16; i < 64; ++i) {
        const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
        const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
        const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
        const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRounds[i] + w[i];
        const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
        const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> add{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += add[i];
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
    std::string padded_end(bytes.substr(bytes.size() / 64 * 64));
    padded_end += '\x80';
    while (padded_end.size() % 64 != 56) padded_end += '\0';
    const std::uint64_t bits = std::uint64_t{bytes.size()} * 8;
    for (int shift = 56; shift >= 0; shift -= 8) padded_end += static_cast<char>(bits >> shift);

    std::array<std::uint32_t, 8> state = kStart;
    const auto run = [&](std::string_view blocks) {
        for (std::size_t at = 0; at + 64 <= blocks.size(); at += 64)
            compress(state, reinterpret_cast<const unsigned char*>(blocks.data()) + at);
    };
    run(bytes);
    run(padded_end);

    std::string out;
    for (const std::uint32_t word : state)
        for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[(word >> shift) & 15];
    return out;
}

}  // namespace skein
