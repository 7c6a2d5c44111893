#pragma once

#include <span>
#include <vector>

#include "model/nn/block.h"

namespace skein {

/// Where an encoder-decoder stands while it decodes: for each sentence the keys and values of its source,
/// computed once, and for each of its beams those of the target positions so far. Row r is beam r % beams of
/// sentence r / beams.
struct PairDecodeState {
    std::int64_t length = 0;    ///< target positions in the caches
    std::int64_t capacity = 0;  ///< and how many fit
    std::int64_t beams = 1;
    Tensor source_lengths;  ///< i32 [sentences]
    std::vector<DecoderBlock::Cache> layers;
    KeyValueCache spare;  ///< what select() gathers into

    std::int64_t sentences() const { return source_lengths.shape()[0]; }
    std::int64_t rows() const { return sentences() * beams; }

    /// Row i becomes what row parents[i] was. Of each sentence's parents all must belong to one sentence;
    /// sentences may be left out, never added. Where no sentence is left out, the pool is asked for the
    /// parents' numbers alone. Throws ShapeError.
    void select(Stream& stream, std::span<const std::int32_t> parents);
};

}  // namespace skein
