#pragma once

#include <array>
#include <cstdint>

namespace skein {

/// Philox4x32-10, a counter-based generator: every number is a pure function of key and counter, so there is
/// no state to advance, to save or to split between ranks. Salmon et al., "Parallel Random Numbers: As Easy
/// as 1, 2, 3", SC 2011.
struct PhiloxKey {
    std::uint32_t k0 = 0, k1 = 0;
    friend constexpr bool operator==(PhiloxKey, PhiloxKey) = default;
};

using PhiloxBlock = std::array<std::uint32_t, 4>;

constexpr PhiloxBlock philox(PhiloxBlock c, PhiloxKey key) {
    constexpr std::uint32_t kM0 = 0xD2511F53u, kM1 = 0xCD9E8D57u, kW0 = 0x9E3779B9u, kW1 = 0xBB67AE85u;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{kM0} * c[0], p1 = std::uint64_t{kM1} * c[2];
        c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ key.k0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ key.k1, static_cast<std::uint32_t>(p0)};
        key.k0 += kW0;
        key.k1 += kW1;
    }
    return c;
}

/// What a stream of numbers is for. Numbers of different purposes are independent. The values are part of the
/// promise: changing one changes every run.
enum class RandomPurpose : std::uint32_t {
    kInitialValues = 1,
    kDropout = 2,
    kSampleOrder = 3,
    kEpochOffset = 4,
    kGeneration = 5,
    kBench = 6,
};

/// The key for one purpose, step and place (a parameter's or a dropout site's number) of a run with this
/// seed.
constexpr PhiloxKey philox_key(std::uint64_t seed, RandomPurpose purpose, std::uint64_t step,
                               std::uint32_t place) {
    const PhiloxBlock block =
        philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32), place,
                static_cast<std::uint32_t>(purpose)},
               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    return {block[0], block[1]};
}

/// Block number `index` of the stream of a key: four words.
constexpr PhiloxBlock philox_at(std::uint64_t index, PhiloxKey key) {
    return philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0}, key);
}

/// Uniform in [0, 1), a multiple of 2^-32; exact in double.
constexpr double uniform(std::uint32_t word) {
    return word * 0x1p-32;
}

}  // namespace skein
