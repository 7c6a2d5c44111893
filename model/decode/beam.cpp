#include "model/decode/beam.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace skein {
namespace {

/// The ids of the `count` largest logits; of equal ones the smaller id first.
std::vector<std::int32_t> largest(std::span<const float> logits, std::size_t count) {
    std::vector<std::int32_t> ids;
    const auto before = [&](std::int32_t a, std::int32_t b) {
        return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    };
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const auto id = static_cast<std::int32_t>(i);
        if (ids.size() == count) {
            if (!before(id, ids.back())) continue;
            ids.pop_back();
        }
        ids.insert(std::upper_bound(ids.begin(), ids.end(), id, before), id);
    }
    return ids;
}

}  // namespace

double SentenceBeams::score(double log_probability, std::int64_t length) const {
    const auto tokens = static_cast<double>(length);
    return log_probability /
           std::pow(options_.penalty == LengthPenalty::kGnmt ? (5.0 + tokens) / 6.0 : tokens, options_.alpha);
}

std::vector<SentenceBeams::Candidate> SentenceBeams::candidates(std::span<const Row> rows) const {
    std::vector<Candidate> all;
    for (std::size_t b = 0; b < alive_.size(); ++b) {
        const Row& row = rows[b];
        const auto add = [&](std::int32_t id) {
            const double behind =
                static_cast<double>(row.logits[static_cast<std::size_t>(id)]) -
                static_cast<double>(row.logits[static_cast<std::size_t>(row.most_probable)]);
            all.push_back({alive_[b].log_probability + (behind - row.nll), static_cast<std::int64_t>(b), id});
        };
        if (length_ == max_length_) {
            add(options_.end);
        } else if (options_.beams == 1) {
            add(row.most_probable);
        } else {
            // of a beam's own candidates at most `beams` end or go on before the others have filled the beams
            for (const std::int32_t id : largest(row.logits, 2 * static_cast<std::size_t>(options_.beams)))
                add(id);
        }
    }
    // stable: within a beam candidates come by falling logit, which has the finer order
    std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
        return a.log_probability > b.log_probability;
    });
    return all;
}

void SentenceBeams::finish(const Beam& beam, double log_probability) {
    Hypothesis hypothesis{beam.ids, log_probability, score(log_probability, length_ + 1)};
    const auto place =
        std::upper_bound(finished_.begin(), finished_.end(), hypothesis,
                         [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
    finished_.insert(place, std::move(hypothesis));
    if (finished_.size() > static_cast<std::size_t>(options_.beams)) finished_.pop_back();
}

void SentenceBeams::extend(std::span<const Row> rows) {
    const auto beams = static_cast<std::size_t>(options_.beams);
    const std::vector<Candidate> all = candidates(rows);
    std::vector<Beam> next;
    for (std::size_t rank = 0; rank < all.size() && next.size() < beams; ++rank) {
        const Candidate& candidate = all[rank];
        const Beam& beam = alive_[static_cast<std::size_t>(candidate.beam)];
        if (candidate.id == options_.end) {
            if (rank < beams) finish(beam, candidate.log_probability);
            continue;
        }
        next.push_back({beam.ids, candidate.log_probability, candidate.beam});
        next.back().ids.push_back(candidate.id);
    }
    ++length_;
    alive_ = std::move(next);
    done_ = alive_.empty() || (finished_.size() == beams &&
                               score(alive_.front().log_probability, length_) <= finished_.back().score);
}

std::int32_t SentenceBeams::token(std::int64_t beam) const {
    const auto b = static_cast<std::size_t>(beam);
    return alive_[b < alive_.size() ? b : 0].ids.back();
}

std::int64_t SentenceBeams::parent(std::int64_t beam) const {
    const auto b = static_cast<std::size_t>(beam);
    return alive_[b < alive_.size() ? b : 0].parent;
}

std::vector<Hypothesis> SentenceBeams::best() const {
    const std::size_t count = std::min(finished_.size(), static_cast<std::size_t>(options_.best));
    return {finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace skein
