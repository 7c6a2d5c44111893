#include "data/pair_sampler.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "data/sampler.h"
#include "model/base/error.h"
#include "model/base/philox.h"

namespace skein {
namespace {

/// A side with its special tokens.
std::uint64_t longest_side(PairLength length) {
    return std::uint64_t{std::max(length.source, length.target)} + kSpecialTokens;
}

std::uint32_t fit(std::uint32_t side, std::uint64_t context) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(side, context - kSpecialTokens) +
                                      kSpecialTokens);
}

struct UsablePairs {
    std::vector<PairLength> lengths;   // with special tokens
    std::vector<std::uint64_t> pairs;  // their numbers; empty: all
    std::uint64_t dropped = 0, truncated = 0;
};

UsablePairs usable_pairs(std::span<const PairLength> lengths, std::uint64_t context, LongPairs long_pairs) {
    if (context <= kSpecialTokens)
        throw ConfigError(text("model.context: found ", context, ", wanted at least ", kSpecialTokens + 1));
    UsablePairs out;
    out.lengths.reserve(lengths.size());
    for (std::uint64_t pair = 0; pair < lengths.size(); ++pair) {
        const PairLength length = lengths[pair];
        if (longest_side(length) > context) {
            if (long_pairs == LongPairs::kError)
                throw DataError(text("pairs: pair ", pair, " has ", length.source, " source and ",
                                     length.target, " target tokens, wanted at most ",
                                     context - kSpecialTokens, " for a context of ", context,
                                     " with an end token (--train.long-pairs drops or truncates them)"));
            if (long_pairs == LongPairs::kDrop) {
                if (out.dropped++ == 0) {
                    out.pairs.resize(pair);
                    std::iota(out.pairs.begin(), out.pairs.end(), std::uint64_t{0});
                }
                continue;
            }
            ++out.truncated;
        }
        out.lengths.push_back({fit(length.source, context), fit(length.target, context)});
        if (out.dropped > 0) out.pairs.push_back(pair);
    }
    return out;
}

/// The rectangles that samples of these lengths are padded to, as they are added one by one.
struct Rectangle {
    std::uint64_t samples = 0, source = 0, target = 0;

    Rectangle with(PairLength length) const {
        return {samples + 1, std::max<std::uint64_t>(source, length.source),
                std::max<std::uint64_t>(target, length.target)};
    }
    bool fits(std::uint64_t tokens) const { return samples * std::max(source, target) <= tokens; }
};

/// Ends of the batches when each takes as many as fit, in order; one sample always does.
std::vector<std::size_t> cut_by_tokens(std::span<const PairLength> lengths, std::uint64_t tokens) {
    std::vector<std::size_t> ends;
    Rectangle batch;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        const Rectangle more = batch.with(lengths[i]);
        if (batch.samples > 0 && !more.fits(tokens)) {
            ends.push_back(i);
            batch = Rectangle().with(lengths[i]);
        } else {
            batch = more;
        }
    }
    ends.push_back(lengths.size());
    return ends;
}

/// The same number of batches with the smallest budget that needs no more of them. `longest`: what one sample
/// needs at the most.
std::vector<std::size_t> cut_evenly(std::span<const PairLength> lengths, std::uint64_t tokens,
                                    std::uint64_t longest) {
    const std::size_t batches = cut_by_tokens(lengths, tokens).size();
    std::uint64_t least = longest, enough = tokens;
    while (least < enough) {
        const std::uint64_t middle = least + (enough - least) / 2;
        if (cut_by_tokens(lengths, middle).size() <= batches) {
            enough = middle;
        } else {
            least = middle + 1;
        }
    }
    return cut_by_tokens(lengths, enough);
}

std::vector<std::size_t> cut_by_samples(std::size_t samples, std::uint64_t batch) {
    std::vector<std::size_t> ends;
    for (std::size_t end = 0; end < samples; ends.push_back(end)) end = std::min(samples, end + batch);
    return ends;
}

}  // namespace

std::uint64_t PairPlan::target_tokens() const {
    std::uint64_t sum = 0;
    for (const PairLength length : lengths) sum += length.target;
    return sum;
}

PairSampler::PairSampler(std::span<const PairLength> lengths, const PairSamplerOptions& options)
    : batch_(options.batch),
      batch_tokens_(options.batch_tokens),
      window_(options.window),
      seed_(options.seed) {
    if ((batch_ == 0) == (batch_tokens_ == 0))
        throw ConfigError(text("train.batch and train.batch-tokens: found ", batch_, " and ", batch_tokens_,
                               ", wanted one of them"));
    if (window_ == 0) throw ConfigError("pairs: found a window of 0 pairs, wanted at least 1");
    if (batch_ > 0) window_ = std::max(batch_, window_ / batch_ * batch_);
    UsablePairs usable = usable_pairs(lengths, options.context, options.long_pairs);
    lengths_ = std::move(usable.lengths);
    kept_ = std::move(usable.pairs);
    dropped_ = usable.dropped;
    truncated_ = usable.truncated;
    if (lengths_.empty())
        throw DataError(text("pairs: none is left to train on (", dropped_, " are longer than the context, ",
                             options.context, ")"));
    std::uint64_t longest = 0;
    for (const PairLength length : lengths_)
        longest = std::max<std::uint64_t>({longest, length.source, length.target});
    if (batch_tokens_ > 0 && batch_tokens_ < longest)
        throw ConfigError(text("train.batch-tokens: found ", batch_tokens_, ", wanted at least ", longest,
                               ", the longest sentence of a pair with its end token"));
}

std::vector<PairPlan> PairSampler::plan_window(std::uint64_t epoch, std::uint64_t window) const {
    if (window >= windows_per_epoch())
        throw DataError(text("pairs: found window ", window, " of an epoch of ", windows_per_epoch()));
    const std::uint64_t begin = window * window_, end = std::min(pairs(), begin + window_);
    const KeyedPermutation order(pairs(), philox_key(seed_, RandomPurpose::kSampleOrder, epoch, 0));
    std::vector<std::uint64_t> chosen;
    for (std::uint64_t i = begin; i < end; ++i) chosen.push_back(order.at(i));
    const auto rank = [this](std::uint64_t pair) {
        return std::tuple(lengths_[pair].target, lengths_[pair].source, pair);
    };
    std::sort(chosen.begin(), chosen.end(),
              [&](std::uint64_t a, std::uint64_t b) { return rank(a) < rank(b); });
    std::vector<PairLength> lengths;
    std::uint64_t longest = 0;
    for (const std::uint64_t pair : chosen) {
        lengths.push_back(lengths_[pair]);
        longest = std::max<std::uint64_t>({longest, lengths_[pair].source, lengths_[pair].target});
    }
    const std::vector<std::size_t> ends =
        batch_ > 0 ? cut_by_samples(lengths.size(), batch_) : cut_evenly(lengths, batch_tokens_, longest);
    // Place 0 is the epoch's own order.
    const KeyedPermutation batches(ends.size(), philox_key(seed_, RandomPurpose::kSampleOrder, epoch,
                                                           static_cast<std::uint32_t>(window + 1)));
    std::vector<PairPlan> out(ends.size());
    std::uint64_t samples_before = 0;
    for (std::uint64_t i = 0; i < out.size(); ++i) {
        const std::uint64_t at = batches.at(i);
        PairPlan& plan = out[i];
        plan.place = {epoch, window, i};
        plan.samples_before = samples_before;
        plan.first_sample = epoch * pairs() + begin + samples_before;
        for (std::size_t sample = at == 0 ? 0 : ends[at - 1]; sample < ends[at]; ++sample) {
            plan.pairs.push_back(kept_.empty() ? chosen[sample] : kept_[chosen[sample]]);
            plan.lengths.push_back(lengths[sample]);
        }
        samples_before += plan.samples();
    }
    return out;
}

PairCursor PairSampler::find(std::uint64_t epoch, std::uint64_t window, std::uint64_t samples) const {
    if (window < windows_per_epoch())
        for (const PairPlan& plan : plan_window(epoch, window))
            if (plan.samples_before >= samples) return plan.place;
    return window + 1 < windows_per_epoch() ? PairCursor{epoch, window + 1, 0} : PairCursor{epoch + 1, 0, 0};
}

PairWalk::PairWalk(const PairSampler& sampler, PairCursor start) : sampler_(sampler) {
    enter(start.epoch, start.window);
    batch_ = start.batch;
    if (batch_ >= plan_.size())
        throw DataError(text("pairs: found batch ", batch_, " of window ", window_, " of epoch ", epoch_,
                             ", which has ", plan_.size()));
}

void PairWalk::enter(std::uint64_t epoch, std::uint64_t window) {
    plan_ = sampler_.plan_window(epoch, window);
    epoch_ = epoch;
    window_ = window;
    batch_ = 0;
}

const PairPlan& PairWalk::next() {
    if (batch_ == plan_.size()) {
        const bool is_last = window_ + 1 == sampler_.windows_per_epoch();
        enter(epoch_ + is_last, is_last ? 0 : window_ + 1);
    }
    return plan_[batch_++];
}

PairCursor PairWalk::cursor() const {
    if (batch_ < plan_.size()) return {epoch_, window_, batch_};
    const bool is_last = window_ + 1 == sampler_.windows_per_epoch();
    return is_last ? PairCursor{epoch_ + 1, 0, 0} : PairCursor{epoch_, window_ + 1, 0};
}

std::vector<PairPlan> plan_validation(std::span<const PairLength> lengths, std::uint64_t pass_tokens,
                                      std::uint64_t context, LongPairs long_pairs) {
    const UsablePairs usable = usable_pairs(lengths, context, long_pairs);
    std::vector<PairPlan> out;
    if (usable.lengths.empty()) return out;
    std::size_t begin = 0;
    for (const std::size_t end : cut_by_tokens(usable.lengths, pass_tokens)) {
        PairPlan& plan = out.emplace_back();
        plan.place.batch = out.size() - 1;
        plan.first_sample = plan.samples_before = begin;
        for (; begin < end; ++begin) {
            plan.pairs.push_back(usable.pairs.empty() ? begin : usable.pairs[begin]);
            plan.lengths.push_back(usable.lengths[begin]);
        }
    }
    return out;
}

PaddingCount& PaddingCount::operator+=(const PaddingCount& other) {
    real += other.real;
    padded += other.padded;
    return *this;
}

PaddingCount count_padding(const PairPlan& plan, std::uint64_t begin, std::uint64_t end) {
    PaddingCount out;
    Rectangle pass;
    for (std::uint64_t i = begin; i < end; ++i) {
        pass = pass.with(plan.lengths[i]);
        out.real += std::uint64_t{plan.lengths[i].source} + plan.lengths[i].target;
    }
    out.padded = pass.samples * (pass.source + pass.target);
    return out;
}

PaddingCount count_padding(const PairSampler& sampler, std::uint64_t epoch, std::uint64_t lanes) {
    PaddingCount out;
    for (std::uint64_t window = 0; window < sampler.windows_per_epoch(); ++window)
        for (const PairPlan& plan : sampler.plan_window(epoch, window))
            for (std::uint64_t lane = 0; lane < lanes; ++lane)
                out +=
                    count_padding(plan, lane * plan.samples() / lanes, (lane + 1) * plan.samples() / lanes);
    return out;
}

}  // namespace skein
