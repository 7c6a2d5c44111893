#pragma once

#include "trainer/kernel_times.h"

namespace skein {

/// What `skein bench --by-kernel` has to say.
struct KernelReport {
    KernelTimes times;
    Ceilings ceilings;
    double plain_step = 0.0;  ///< seconds of a step that was not metered
};
void print(const KernelReport& report);

}  // namespace skein
