#include "trainer/clock.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "checkpoint/run_lock.h"

namespace skein {

double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double age_of_this_process() {
    timespec now{};
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0.0;
    const double started =
        static_cast<double>(LockOwner::this_process().started) / static_cast<double>(sysconf(_SC_CLK_TCK));
    const double age = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started;
    return started > 0.0 ? std::max(0.0, age) : 0.0;
}

std::string utc_time(std::time_t seconds) {
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char buffer[32];
    std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return buffer;
}

}  // namespace skein
