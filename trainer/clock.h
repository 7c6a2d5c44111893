#pragma once

#include <ctime>
#include <string>

namespace skein {

/// Seconds from anywhere, by a clock that only goes forward.
double steady_seconds();

/// Seconds since this process began; 0 where the system does not say.
double age_of_this_process();

/// "2026-11-21T20:15:00Z"
std::string utc_time(std::time_t seconds);

}  // namespace skein
