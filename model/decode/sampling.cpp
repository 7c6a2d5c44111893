#include "model/decode/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "model/base/error.h"

namespace skein {

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, double uniform) {
    if (options.temperature < 0.0 || options.top_k < 0 || options.top_p <= 0.0 || options.top_p > 1.0)
        throw ConfigError(text("sampling: temperature ", options.temperature, ", top-k ", options.top_k,
                               ", top-p ", options.top_p, "; wanted at least 0, at least 0, and in (0, 1]"));
    if (logits.empty() || !std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }))
        throw DataError("sampling: a logit is not finite");
    const auto best = std::max_element(logits.begin(), logits.end());
    if (options.temperature == 0.0) return static_cast<std::int32_t>(best - logits.begin());

    std::vector<std::int32_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    const std::size_t count =
        options.top_k > 0 ? std::min(ids.size(), static_cast<std::size_t>(options.top_k)) : ids.size();
    std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                      [&](std::int32_t a, std::int32_t b) {
                          const float x = logits[static_cast<std::size_t>(a)],
                                      y = logits[static_cast<std::size_t>(b)];
                          return x != y ? x > y : a < b;
                      });
    ids.resize(count);
    std::vector<double> weights;
    for (const std::int32_t id : ids)
        weights.push_back(std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - *best) /
                                   options.temperature));
    double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (options.top_p < 1.0) {
        double held = 0.0;
        std::size_t kept = 0;
        while (kept < weights.size() && held < options.top_p * total) held += weights[kept++];
        weights.resize(kept);
        total = held;
    }
    double left = uniform * total;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        left -= weights[i];
        if (left < 0.0) return ids[i];
    }
    return ids[weights.size() - 1];
}

}  // namespace skein
