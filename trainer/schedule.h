#pragma once

#include <cstdint>

#include "trainer/config.h"

namespace skein {

/// The learning rate as a function of the update's number, from 1. Warm-up rises linearly from 0: update u of
/// w gets u / w of the rate that follows.
///   constant      peak
///   linear        from peak down to floor at the horizon
///   cosine        half a cosine from peak down to floor at the horizon (Loshchilov and Hutter, 2017)
///   inverse-sqrt  peak · sqrt(w / u), at least floor
///   noam          peak · width^-0.5 · min(u^-0.5, u · w^-1.5) (Vaswani et al., 2017, equation 3)
///   wsd           peak until the last decay-share of the horizon, then linearly to floor (Hu et al.,
///   MiniCPM, 2024)
class Schedule {
  public:
    /// `horizon`: updates until the floor; `width`: the model's. Throws ConfigError for a warm-up that is
    /// neither a number of updates nor a share in percent.
    Schedule(const ScheduleSection& section, std::int64_t horizon, std::int64_t width);

    double rate(std::int64_t update) const;
    std::int64_t warmup() const { return warmup_; }

  private:
    double after_warmup(double update) const;

    ScheduleSection section_;
    std::int64_t horizon_, width_, warmup_;
};

}  // namespace skein
