#pragma once

#include <exception>
#include <string>

#include "parallel/agreement.h"

namespace skein {

/// Exit codes (sysexits).
inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitBadData = 65;
inline constexpr int kExitMissing = 66;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitRank = 71;
inline constexpr int kExitInputOutput = 74;
inline constexpr int kExitStopped = 75;  ///< stopped on request with a checkpoint: start me again

/// How an exception ends the program: its exit code, and its message as one line.
Failure failure_of(const std::exception_ptr& exception);

}  // namespace skein
