#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace skein {

/// A SentencePiece model from the bytes of its file. Throws DataError, with `origin` in it, when they are not
/// one.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string model, const std::string& origin);

}  // namespace skein
