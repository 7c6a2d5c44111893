#pragma once

#include <string>

#include "model/nn/builder.h"

namespace skein {

/// Token ids to the first hidden states: a row of the table each, plus positions, with dropout. The rows are
/// multiplied by sqrt(width) in an encoder-decoder and where fixed sinusoids are added to them; GPT's are
/// not.
class InputEmbedding {
  public:
    /// Reads `tokens`, which it does not own. Learned positions are made under the name `positions`.
    InputEmbedding(Builder& builder, Parameter& tokens, const std::string& positions);

    /// ids: i32 [samples, length]; the result is [samples · length, width], or this rank's slice of its rows.
    /// Throws ShapeError past the context.
    Var operator()(Tape& tape, const Tensor& ids, const kernels::RowPlace& place,
                   const PassContext& pass) const;

    Parameter& tokens() const { return *tokens_; }

  private:
    Parameter* tokens_;
    Parameter* positions_ = nullptr;  // learned ones
    Tensor sinusoids_;                // [context, width], or empty
    float scale_ = 1.0f;
    TensorSharing sharing_;
    DropoutSite dropout_;
};

/// Sinusoidal positions [context, width]: channel 2i is sin(position / 10000^(2i / width)), 2i + 1 its cosine
/// (Vaswani et al., 2017, section 3.5).
Tensor sinusoidal_positions(Stream& stream, std::int64_t context, std::int64_t width);

}  // namespace skein
