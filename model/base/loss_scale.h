#pragma once

#include <cstdint>

namespace skein {

/// What the gradient of the loss is multiplied by, so that fp16 holds the small gradients behind it.
struct LossScaleState {
    double scale = 1.0;
    std::uint64_t good_steps = 0;  ///< since it last grew, or since the last overflow
    std::uint64_t overflows = 0;   ///< since it last grew; hysteresis counts them
    friend constexpr bool operator==(const LossScaleState&, const LossScaleState&) = default;
};

/// Dynamic loss scaling (Micikevicius et al., Mixed Precision Training, 2018, section 3.2) as Apex and
/// Megatron have it. A step whose gradient is not finite is skipped. From the hysteresis-th such step since
/// the scale last grew on, each multiplies it by `backoff`: with 1, as in Apex, the first one does;
/// Megatron's 2 forgives one. After `interval` good steps in a row it is multiplied by `growth`, and what was
/// forgiven can be again.
struct LossScaleRule {
    double growth = 2.0, backoff = 0.5;
    std::uint64_t interval = 2000, hysteresis = 1;
};

/// The scale stays between these: where it is at its least, overflows are not of its making.
inline constexpr double kLeastLossScale = 1.0, kMostLossScale = 0x1p32;

/// The state after a step whose gradient overflowed, or did not. A function of its arguments alone: all ranks
/// come to the same, and a device can.
constexpr LossScaleState after_step(LossScaleState state, const LossScaleRule& rule, bool overflowed) {
    if (overflowed) {
        state.good_steps = 0;
        if (++state.overflows >= rule.hysteresis) state.scale *= rule.backoff;
        if (state.scale < kLeastLossScale) state.scale = kLeastLossScale;
    } else if (++state.good_steps >= rule.interval) {
        state.good_steps = state.overflows = 0;
        state.scale *= rule.growth;
        if (state.scale > kMostLossScale) state.scale = kMostLossScale;
    }
    return state;
}

}  // namespace skein
