#pragma once

#include <cstdint>
#include <vector>

#include "model/nn/encoder_decoder.h"

namespace skein {

/// What a hypothesis' log-probability is divided by, so that long ones are not at a loss; length counts the
/// end token.
enum class LengthPenalty {
    kPower,  ///< length^alpha
    kGnmt,   ///< ((5 + length) / 6)^alpha. Wu et al., 2016, equation 14, without its coverage penalty
};

struct BeamOptions {
    std::int64_t beams = 4;  ///< 1: greedy
    LengthPenalty penalty = LengthPenalty::kGnmt;
    double alpha = 0.6;               ///< 0: no penalty
    std::int64_t best = 1;            ///< hypotheses returned of each sentence, at most `beams`
    std::int32_t begin = 0, end = 0;  ///< token ids
    /// A target has at most length_factor · source tokens + length_extra tokens, and no more than the context
    /// holds; then the end token is the only one left. (Vaswani et al., 2017, section 6.1: source + 50.)
    double length_factor = 1.0;
    std::int64_t length_extra = 50;
    /// Sentences are decoded together while their beams · (source + target positions) are no more than this,
    /// which bounds the memory of caches. One sentence alone may have more.
    std::int64_t batch_positions = 8192;
};

struct Hypothesis {
    std::vector<std::int32_t> ids;  ///< without begin and end token
    double log_probability = 0.0;   ///< of ids and the end token, in nats
    double score = 0.0;             ///< log_probability / length penalty
};

/// Beam search (greedy with one beam) over many sentences: for each, in the order given, its best finished
/// hypotheses, best first. A beam's candidates are ordered by log-probability, then beam, then token id; a
/// sentence ends when as many hypotheses as there are beams have finished and none alive scores above them at
/// its present length. A sentence's result does not depend on what is beside it, nor on threads. Throws
/// ConfigError for options out of range, DataError for a source that is empty, longer than the context or has
/// an id outside the vocabulary, or when no logit is finite.
std::vector<std::vector<Hypothesis>> beam_search(const EncoderDecoder& model, Stream& stream,
                                                 const std::vector<std::vector<std::int32_t>>& sources,
                                                 const BeamOptions& options);

}  // namespace skein
