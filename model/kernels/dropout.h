#pragma once

#include <algorithm>
#include <cstdint>

#include "model/base/philox.h"

namespace skein::kernels {

/// One dropout mask: element (sample, position, channel) is dropped when its 16-bit random number is below
/// `threshold`, otherwise multiplied by `scale` = 65536 / (65536 - threshold). A mask is a function of key
/// and of those three global indices alone, never of a place in a padded buffer: channels 8j ... 8j+7 take
/// the eight 16-bit halves, low half first, of philox({j, position, sample, plane}, key). plane is the head
/// for attention probabilities (then position is the query and channel the key position) and 0 elsewhere.
struct Dropout {
    PhiloxKey key;
    std::uint32_t threshold = 0;  ///< 0: no dropout
    float scale = 1.0f;

    explicit operator bool() const { return threshold != 0; }
};

/// The mask of a site that drops with `probability` in [0, 1), rounded to a multiple of 2^-16 that is less
/// than 1.
constexpr Dropout make_dropout(double probability, PhiloxKey key) {
    const std::uint32_t threshold = std::min(static_cast<std::uint32_t>(probability * 65536.0 + 0.5), 65535u);
    return {key, threshold, static_cast<float>(65536.0 / (65536.0 - threshold))};
}

/// Whether one element is kept: the definition that the vectorized kernels are tested against.
constexpr bool keeps(const Dropout& dropout, std::uint32_t sample, std::uint32_t position,
                     std::uint32_t channel, std::uint32_t plane = 0) {
    const PhiloxBlock block = philox({channel / 8, position, sample, plane}, dropout.key);
    const std::uint32_t word = block[channel % 8 / 2];
    return (channel % 2 == 0 ? word & 0xFFFFu : word >> 16) >= dropout.threshold;
}

}  // namespace skein::kernels
