#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/tensor/work_meter.h"

namespace skein {

/// What a rank's device does at most, as measured (trainer/ceilings.h).
struct Ceilings {
    double copy = 0.0;     ///< bytes a second, read and written together, of a large copy in its memory
    double product = 0.0;  ///< floating-point operations a second of a large matrix product
};

/// The kernels of one name in a training step.
struct FamilyTime {
    std::string_view name;
    std::int64_t calls = 0;
    double seconds = 0.0;
    double bytes = 0.0, flops = 0.0;  ///< as Work has them

    /// The seconds that this work takes at the least where memory and products are no faster than measured.
    double floor(const Ceilings& ceilings) const;
};

/// One step's kernels, and its whole time.
struct MeteredStep {
    double seconds = 0.0;
    std::vector<WorkMeter::Entry> kernels;
};

/// A rank's training step by kernel family.
struct KernelTimes {
    double step = 0.0;     ///< seconds: median
    double inside = 0.0;   ///< in all kernels: median
    double outside = 0.0;  ///< in none: median
    std::vector<FamilyTime> families;
};
/// Medians over the steps, of which there is at least one and which all run the same kernels; the families in
/// the order of what each could gain, seconds over its floor, the most first.
KernelTimes kernel_times(std::span<const MeteredStep> steps, const Ceilings& ceilings);

}  // namespace skein
