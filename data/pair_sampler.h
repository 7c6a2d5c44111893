#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/pair_shard.h"

namespace skein {

/// What a batch adds to a sentence: a source is its ids and an end token; the decoder reads a begin token and
/// the target's ids, and is to give the ids and an end token. A side's *length* below is with it.
inline constexpr std::uint64_t kSpecialTokens = 1;

/// What becomes of a pair of which a side is longer than the context.
enum class LongPairs {
    kError,
    kDrop,      ///< it is never seen; PairSampler::dropped() counts it
    kTruncate,  ///< its sides lose their ends; end tokens stay
};

struct PairSamplerOptions {
    /// Exactly one of the two is not 0: samples of a global batch, or the most that samples × longest may be,
    /// on each side.
    std::uint64_t batch = 0, batch_tokens = 0;
    /// The most that a side's length may be.
    std::uint64_t context = 0;
    LongPairs long_pairs = LongPairs::kError;
    /// Pairs that are sorted by length together. With `batch` it is rounded down to a multiple of it.
    std::uint64_t window = 8192;
    std::uint64_t seed = 0;
};

/// A place in the order of batches.
struct PairCursor {
    std::uint64_t epoch = 0, window = 0, batch = 0;
    friend bool operator==(PairCursor, PairCursor) = default;
};

/// One global batch: which pairs, known without reading a token.
struct PairPlan {
    PairCursor place;
    /// The number of the first sample, over all epochs; the others follow. Unique in a run.
    std::uint64_t first_sample = 0;
    /// Samples of this window in batches before this one.
    std::uint64_t samples_before = 0;
    /// Pairs of the PairStream, by sample. Neighbours are alike in length.
    std::vector<std::uint64_t> pairs;
    /// By sample, with kSpecialTokens, truncated where that was asked for.
    std::vector<PairLength> lengths;

    std::uint64_t samples() const { return pairs.size(); }
    /// The sum of all real targets: what the loss of the batch is divided by.
    std::uint64_t target_tokens() const;
};

/// The order in which training sees pairs: a function of the pairs' lengths, the options and the epoch alone,
/// the same on every rank. An epoch is a keyed permutation of all pairs, cut into windows; a window is sorted
/// by length (target, source, then pair) and cut into batches: of `batch` samples, or as few as
/// `batch_tokens` allows, and then as even as can be, so that no small remainder is left. The batches of a
/// window come in a keyed order. Every pair is in exactly one batch of an epoch. Seeking costs the planning
/// of one window.
class PairSampler {
  public:
    /// `lengths`: PairStream::read_lengths(). Throws DataError for a pair longer than the context (the first
    /// is named) unless it is dropped or truncated, and when no pair is left; ConfigError for options, and
    /// for batch_tokens less than the longest pair.
    PairSampler(std::span<const PairLength> lengths, const PairSamplerOptions& options);

    /// Of an epoch.
    std::uint64_t pairs() const { return lengths_.size(); }
    /// Pairs that are longer than the context and left out, or cut.
    std::uint64_t dropped() const { return dropped_; }
    std::uint64_t truncated() const { return truncated_; }
    std::uint64_t windows_per_epoch() const { return (pairs() + window_ - 1) / window_; }

    /// All batches of a window, in the order in which they are seen.
    std::vector<PairPlan> plan_window(std::uint64_t epoch, std::uint64_t window) const;

    /// The first batch that has at least `samples` samples of its window before it, or the next window's
    /// first.
    PairCursor find(std::uint64_t epoch, std::uint64_t window, std::uint64_t samples) const;

  private:
    std::vector<PairLength> lengths_;
    std::vector<std::uint64_t> kept_;  // pair numbers; empty: all
    std::uint64_t batch_, batch_tokens_, window_, seed_;
    std::uint64_t dropped_ = 0, truncated_ = 0;
};

/// Walks over the batches from a place on, one window planned at a time. `sampler` outlives it.
class PairWalk {
  public:
    /// Throws DataError when the window has no such batch.
    PairWalk(const PairSampler& sampler, PairCursor start);

    /// The next batch; valid until the call after this one.
    const PairPlan& next();
    /// The place of the batch that next() will give.
    PairCursor cursor() const;

  private:
    void enter(std::uint64_t epoch, std::uint64_t window);

    const PairSampler& sampler_;
    std::uint64_t epoch_ = 0, window_ = 0, batch_ = 0;
    std::vector<PairPlan> plan_;
};

/// Passes over pairs in their order, for validation: each takes as many as `pass_tokens` allows on each side,
/// at least one. A function of lengths and options alone; the samples are numbered from 0. Throws as
/// PairSampler for pairs longer than the context.
std::vector<PairPlan> plan_validation(std::span<const PairLength> lengths, std::uint64_t pass_tokens,
                                      std::uint64_t context, LongPairs long_pairs = LongPairs::kError);

/// What padding costs: tokens of both sides, the real ones and those of the padded rectangles.
struct PaddingCount {
    std::uint64_t real = 0, padded = 0;
    double real_share() const {
        return padded == 0 ? 1.0 : static_cast<double>(real) / static_cast<double>(padded);
    }
    PaddingCount& operator+=(const PaddingCount& other);
};

/// Of a pass over the samples [begin, end) of a batch.
PaddingCount count_padding(const PairPlan& plan, std::uint64_t begin, std::uint64_t end);
/// Of an epoch, each batch in `lanes` passes: the samples [i·n/lanes, (i+1)·n/lanes).
PaddingCount count_padding(const PairSampler& sampler, std::uint64_t epoch, std::uint64_t lanes);

}  // namespace skein
