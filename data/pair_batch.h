#pragma once

#include <cstdint>
#include <vector>

#include "data/pair_sampler.h"

namespace skein {

/// A part of a global batch, ragged: sample r is source [source_offsets[r], source_offsets[r + 1]), and
/// likewise of both target rows. Every sample ends in SentencePieceIds::kEnd, in `source` and in `targets`;
/// `inputs` is `targets` one token later, behind SentencePieceIds::kBegin.
struct PairBatch {
    /// Of the whole global batch.
    PairCursor place;
    std::uint64_t batch_samples = 0, batch_target_tokens = 0;
    /// Of this part: the number of its first sample over all epochs, as PairPlan has it; the others follow.
    std::uint64_t first_sample = 0;

    std::vector<std::int32_t> source, inputs, targets;
    /// [samples + 1], from 0.
    std::vector<std::uint64_t> source_offsets{0}, target_offsets{0};

    std::uint64_t samples() const { return source_offsets.size() - 1; }
};

/// Samples [begin, end) of a planned batch, begin ≤ end ≤ plan.samples(). Reads those samples' tokens only.
/// Throws DataError, also when a pair has another length than planned.
PairBatch read_pairs(const PairStream& stream, const PairPlan& plan, std::uint64_t begin, std::uint64_t end);

/// Some samples of a part, each side padded to its own longest.
struct PaddedPairs {
    std::uint64_t samples = 0, source_length = 0, target_length = 0;
    /// [samples, source_length], row-major; kPadding behind a sample's end.
    std::vector<std::int32_t> source;
    /// [samples, target_length]; behind a sample's end kPadding, and in `targets` -1, which has no loss.
    std::vector<std::int32_t> inputs, targets;
    /// [samples]: real tokens.
    std::vector<std::int32_t> source_lengths, target_lengths;
};

/// Samples [begin, end) of `batch`, counted in it. None: no samples and lengths of 0.
PaddedPairs pad_pairs(const PairBatch& batch, std::uint64_t begin, std::uint64_t end);

}  // namespace skein
