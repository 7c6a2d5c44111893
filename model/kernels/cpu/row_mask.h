#pragma once

#include "model/kernels/cpu/philox_simd.h"
#include "model/kernels/elementwise.h"

namespace skein::kernels::simd {

/// The dropout factors of one row of activations (plane 0), read from channel 0 upwards eight at a time.
class RowMask {
  public:
    RowMask(const Dropout& dropout, const RowPlace& place, std::int64_t r)
        : dropout_(dropout),
          sample_(static_cast<std::uint32_t>(place.sample(r))),
          position_(static_cast<std::uint32_t>(place.position(r))),
          first_channel_(place.first_channel) {}

    /// Channels c ... c + 7; c goes up in steps of eight.
    F8 at(std::int64_t c) {
        const std::int64_t within = c % kMaskRun;
        if (within == 0)
            mask_run(dropout_, sample_, position_, 0, static_cast<std::uint32_t>((first_channel_ + c) / 8),
                     factors_);
        return load(factors_ + within);
    }

  private:
    const Dropout& dropout_;
    std::uint32_t sample_, position_;
    std::int64_t first_channel_;
    float factors_[kMaskRun];
};

}  // namespace skein::kernels::simd
