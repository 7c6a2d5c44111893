#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "trainer/run_rules.h"

namespace skein {

Schedule::Schedule(const ScheduleSection& section, std::int64_t horizon, std::int64_t width)
    : section_(section), horizon_(horizon), width_(width), warmup_(warmup_updates(section.warmup, horizon)) {}

double Schedule::rate(std::int64_t update) const {
    const auto u = static_cast<double>(update), w = static_cast<double>(warmup_);
    if (section_.kind == ScheduleKind::kNoam)
        return section_.peak / std::sqrt(static_cast<double>(width_)) *
               std::min(1.0 / std::sqrt(u), w > 0 ? u * std::pow(w, -1.5) : 1.0 / std::sqrt(u));
    return update < warmup_ ? section_.peak * u / w : after_warmup(u);
}

double Schedule::after_warmup(double update) const {
    const auto horizon = static_cast<double>(horizon_), w = static_cast<double>(warmup_);
    const double peak = section_.peak, floor = section_.floor;
    // how much of the way from the end of warm-up to the horizon is done
    const double done = horizon > w ? std::clamp((update - w) / (horizon - w), 0.0, 1.0) : 1.0;
    switch (section_.kind) {
        case ScheduleKind::kLinear:
            return peak + (floor - peak) * done;
        case ScheduleKind::kCosine:
            return floor + (peak - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
        case ScheduleKind::kInverseSqrt:
            return std::max(floor, peak * std::sqrt(std::max(w, 1.0) / update));
        case ScheduleKind::kWsd: {
            const double decay = section_.decay_share * horizon;
            return peak + (floor - peak) *
                              (decay > 0 ? std::clamp((update - horizon + decay) / decay, 0.0, 1.0) : 0.0);
        }
        default:
            return peak;
    }
}

}  // namespace skein
