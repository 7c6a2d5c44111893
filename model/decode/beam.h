#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/decode/beam_search.h"

namespace skein {

/// One sentence's side of a beam search: which targets are alive, which have finished. It reads logits and
/// knows no model.
class SentenceBeams {
  public:
    /// A target has at most `max_length` tokens before its end token.
    SentenceBeams(const BeamOptions& options, std::int64_t max_length)
        : options_(options), max_length_(max_length), alive_(1) {}

    /// What the model says of one beam.
    struct Row {
        std::span<const float> logits;
        std::int32_t most_probable = 0;  ///< the first largest logit
        double nll = 0.0;                ///< its -log p
    };
    /// Takes the next token of every beam, of which rows past the living are not read.
    void extend(std::span<const Row> rows);

    /// Beam `beam`'s last token, and which beam it was before extend(). A beam that does not live repeats
    /// beam 0.
    std::int32_t token(std::int64_t beam) const;
    std::int64_t parent(std::int64_t beam) const;
    bool done() const { return done_; }
    /// The best finished hypotheses, best first.
    std::vector<Hypothesis> best() const;

  private:
    struct Beam {
        std::vector<std::int32_t> ids;
        double log_probability = 0.0;
        std::int64_t parent = 0;
    };
    struct Candidate {
        double log_probability;
        std::int64_t beam;
        std::int32_t id;
    };
    double score(double log_probability, std::int64_t length) const;
    std::vector<Candidate> candidates(std::span<const Row> rows) const;
    void finish(const Beam& beam, double log_probability);

    const BeamOptions& options_;
    std::int64_t max_length_;
    std::int64_t length_ = 0;  // tokens of every living beam
    std::vector<Beam> alive_;  // by falling log-probability
    std::vector<Hypothesis> finished_;
    bool done_ = false;
};

}  // namespace skein
