#include "model/decode/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "model/base/error.h"

namespace skein {

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, double uniform) {
    if (options.temperature < 0.0 || options.top_k < 0 || options.top_p <= 0.0 || options.top_p > 1.0)
        throw ConfigError(text("sampling: temperature ", options.temperature, ", top-k ", options.top_k, ", top-p ",
                               options.top_p, "; wanted at least 0, at least 0, and in (0, 1]"));
    const auto best = std::max_element(logits.begin(), logits.end());
    if (best == logits.end() || !std::isfinite(*best)) throw DataError("sampling: no logit is finite");
    if (options.temperature == 0.0) return static_cast<std::int32_t>(best - logits.begin());

    std::vector<std::int32_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
        return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < ids.size())
        ids.resize(static_cast<std::size_t>(options.top_k));
    std::vector<double> weights;
    for (const std::int32_t id : ids)
        weights.push_back(std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - *best) / options.temperature));
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
