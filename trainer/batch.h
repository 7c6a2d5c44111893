#pragma once

#include <cstdint>
#include <exception>
#include <variant>

#include "checkpoint/manifest.h"
#include "data/pair_batch.h"
#include "data/sampler.h"
#include "parallel/lanes.h"

namespace skein {

/// A global batch, as far as one rank has it.
struct Batch {
    std::int64_t samples = 0;        ///< of the global batch
    std::int64_t target_tokens = 0;  ///< of the global batch, real ones: what its loss is divided by
    std::int64_t source_tokens = 0;  ///< of the global batch, real ones; 0: its samples have no source
    SampleRange own;                 ///< the samples that `part` holds
    std::variant<TokenBatch, PairBatch> part;
    DataPlace after;  ///< where a run stands in its data once the batch is consumed
    /// Why the samples could not be read; `part` then holds as many blank ones of the same lengths.
    std::exception_ptr unread;

    /// Tokens of a sample of `own`, counted in the global batch: of pairs, of its longer side.
    std::int64_t length(std::int64_t sample) const;
};

/// The longest run of samples from `begin` on, at most to `end`, that makes one pass: no more than
/// `most_samples` (0: any number), nor than `most_tokens` as samples · longest (0: any number), but one at
/// least.
SampleRange next_pass(const Batch& batch, std::int64_t begin, std::int64_t end, std::int64_t most_samples,
                      std::int64_t most_tokens);

}  // namespace skein
