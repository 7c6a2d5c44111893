#pragma once

#include <nlohmann/json_fwd.hpp>

#include "trainer/kernel_times.h"

namespace skein {

/// What `skein bench --by-kernel` has to say.
struct KernelReport {
    KernelTimes times;
    Ceilings ceilings;
    double plain_step = 0.0;  ///< seconds of a step that was not metered
};
void print(const KernelReport& report);
nlohmann::ordered_json json_of(const KernelReport& report);

}  // namespace skein
