#pragma once

#include <cstdint>

#include "model/kernels/cross_entropy.h"

namespace skein::kernels {

/// A row's loss, put together from the parts of its vocabulary: what every device computes from them.
struct RowLoss {
    double nll = 0.0, loss = 0.0;
    std::int64_t correct = 0;
    double total = 1.0;  ///< Σ exp(x - highest) over the whole vocabulary
    double own_share =
        1.0;  ///< exp(this part's highest - highest): p[v] = own_share · exp(x[v] - it) / total
    double uniform_share = 0.0;  ///< ε / V
};

/// parts[i · stride] is part i of the row. `target` is no padding; `exp` and `log` are the device's, of
/// double.
template <class Exp, class Log>
constexpr RowLoss row_loss(const VocabularyPart* parts, std::int64_t stride, int count, int own,
                           std::int64_t target, double smoothing, const Exp& exp, const Log& log) {
    float highest = parts[0].highest;
    for (int i = 1; i < count; ++i)
        if (parts[i * stride].highest > highest) highest = parts[i * stride].highest;

    RowLoss row;
    double total = 0.0, centred = 0.0;
    float target_logit = 0.0f;
    bool highest_before = false;  // in a part before the target's
    std::int64_t ids = 0;
    for (int i = 0; i < count; ++i) {
        const VocabularyPart& part = parts[i * stride];
        const double below = static_cast<double>(part.highest) - static_cast<double>(highest);
        const bool holds_target = target >= ids && target < ids + part.ids;
        total += below == 0.0 ? part.total : part.total * exp(below);
        centred += part.centred + static_cast<double>(part.ids) * below;
        if (holds_target) {
            target_logit = part.target;
            row.correct = below == 0.0 && part.target_is_first != 0 && !highest_before ? 1 : 0;
        }
        highest_before |= below == 0.0 && part.ids > 0;
        ids += part.ids;
    }
    const double own_below = static_cast<double>(parts[own * stride].highest) - static_cast<double>(highest);
    const double log_total = log(total);
    row.uniform_share = smoothing / static_cast<double>(ids);
    row.own_share = own_below == 0.0 ? 1.0 : exp(own_below);
    row.total = total;
    // log p[v] = x[v] - highest - log(total)
    row.nll = log_total - (static_cast<double>(target_logit) - static_cast<double>(highest));
    row.loss =
        (1.0 - smoothing) * row.nll + row.uniform_share * (static_cast<double>(ids) * log_total - centred);
    return row;
}

}  // namespace skein::kernels
