#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"
#include "launch/command.h"
#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"
#include "trainer/objective.h"

namespace skein {

/// A checkpoint's model on a stream of its own, with the tokenizers it was trained with: what commands need
/// that read and write text.
class TextModel {
  public:
    /// Takes --checkpoint, --device and --parallel.threads, which is the processors of this process unless
    /// given; `command` is who says what is to be said.
    /// Throws MissingError and CheckpointError; DataError when the checkpoint holds no tokenizer or one of
    /// another size.
    TextModel(const Arguments& arguments, const std::string& command);

    Stream& stream() { return stream_; }
    /// Of the checkpoint.
    const std::string& folder() const { return folder_; }
    /// The one that it is; the other is null.
    const Transformer* decoder() const;
    const EncoderDecoder* encoder_decoder() const;
    /// Of the text that the model writes, and of the text that an encoder-decoder reads.
    const Tokenizer& tokenizer() const { return *tokenizer_; }
    const Tokenizer& source_tokenizer() const { return *source_tokenizer_; }

  private:
    Stream stream_;
    std::string folder_;
    std::unique_ptr<Objective> objective_;
    std::unique_ptr<Tokenizer> tokenizer_, source_tokenizer_;
};

}  // namespace skein
