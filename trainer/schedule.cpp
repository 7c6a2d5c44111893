#include "trainer/schedule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "model/base/error.h"

namespace skein {

std::int64_t parse_warmup(const std::string& warmup, std::int64_t horizon) {
    const bool share = warmup.ends_with('%');
    double value = -1.0;
    const char* end = warmup.data() + warmup.size() - (share ? 1 : 0);
    const auto [stop, error] = std::from_chars(warmup.data(), end, value);
    if (error != std::errc{} || stop != end || value < 0.0 || (share && value > 100.0) ||
        (!share && value != std::floor(value)))
        throw ConfigError(text("--schedule.warmup: found '", warmup, "', wanted updates (200) or a share (2%)"));
    return std::llround(share ? value / 100.0 * static_cast<double>(horizon) : value);
}

Schedule::Schedule(const ScheduleSection& section, std::int64_t horizon, std::int64_t width)
    : section_(section), horizon_(horizon), width_(width), warmup_(parse_warmup(section.warmup, horizon)) {}

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
            return peak + (floor - peak) * (decay > 0 ? std::clamp((update - horizon + decay) / decay, 0.0, 1.0) : 0.0);
        }
        default:
            return peak;
    }
}

}  // namespace skein
