#pragma once

#include <cstdint>

#include "model/kernels/cross_entropy.h"

namespace skein::kernels {

/// The highest logit of row r over all parts.
constexpr float highest_of(const VocabularyParts& all, std::int64_t rows, std::int64_t r) {
    float highest = all.parts[r].highest;
    for (int i = 1; i < all.count; ++i)
        if (all.parts[i * rows + r].highest > highest) highest = all.parts[i * rows + r].highest;
    return highest;
}

/// A row's loss, put together from the parts of its vocabulary: what every device computes from them.
struct RowLoss {
    double nll = 0.0, loss = 0.0;
    std::int64_t correct = 0;
    double total = 1.0;          ///< Σ exp(x - highest)
    double uniform_share = 0.0;  ///< ε / V
};

/// Of row r, whose target is no padding. `log` is the device's, of double.
template <class Log>
constexpr RowLoss row_loss(const VocabularyParts& all, std::int64_t rows, std::int64_t r, std::int64_t target,
                           double smoothing, const Log& log) {
    const float highest = highest_of(all, rows, r);
    RowLoss row;
    double total = 0.0, centred = 0.0;
    float target_logit = 0.0f;
    bool highest_before = false;  // in a part before the target's
    std::int64_t ids = 0;
    for (int i = 0; i < all.count; ++i) {
        const VocabularyPart& part = all.parts[i * rows + r];
        total += all.sums[i * rows + r].total;
        centred += all.sums[i * rows + r].centred;
        if (target >= ids && target < ids + part.ids) {
            target_logit = part.target;
            row.correct = part.highest == highest && part.target_is_first != 0 && !highest_before ? 1 : 0;
        }
        highest_before |= part.highest == highest && part.ids > 0;
        ids += part.ids;
    }
    const double log_total = log(total);
    row.total = total;
    row.uniform_share = smoothing / static_cast<double>(ids);
    // log p[v] = x[v] - highest - log(total)
    row.nll = log_total - (static_cast<double>(target_logit) - static_cast<double>(highest));
    row.loss =
        (1.0 - smoothing) * row.nll + row.uniform_share * (static_cast<double>(ids) * log_total - centred);
    return row;
}

}  // namespace skein::kernels
