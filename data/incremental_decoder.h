#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace skein {

/// Text out of ids that come one by one. A character whose bytes are spread over several ids is given when it
/// is whole.
class IncrementalDecoder {
  public:
    /// Goes on behind `before`, whose text is not given again. The tokenizer must outlive it.
    IncrementalDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> before);

    /// What the text gains by one more id; may be empty. Throws DataError for an id outside the vocabulary.
    std::string add(std::int32_t id);

  private:
    const Tokenizer& tokenizer_;
    std::vector<std::int32_t>
        recent_;             // decoding starts here, so that a long text costs no more than a short one
    std::size_t given_ = 0;  // bytes of recent_'s text that were given
};

}  // namespace skein
