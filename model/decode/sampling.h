#pragma once

#include <cstdint>
#include <span>

#include "model/base/philox.h"

namespace skein {

/// How a next token is chosen from logits.
struct SamplingOptions {
    double temperature = 1.0;  ///< 0: the most probable token
    std::int64_t top_k = 0;    ///< only the k most probable; 0: all
    double top_p = 1.0;        ///< only the fewest that hold this much probability (Holtzman et al., 2020)
};

/// A token chosen from its logits by one uniform number in [0, 1). Of equal logits the smaller id comes
/// first. Throws ConfigError for options out of range, DataError when a logit is not finite.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, double uniform);

}  // namespace skein
