#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "model/decode/beam_search.h"

namespace skein {

/// A sentence as an encoder-decoder reads it.
struct SourceSentence {
    std::vector<std::int32_t> ids;  ///< ends in the end token; empty when there is no text
    std::size_t tokens = 0;         ///< what the text has, with the end token: more than ids when it was cut
    bool is_cut() const { return tokens > ids.size(); }
};

/// What is longer than the context loses its end; the end token stays. Throws DataError for text that is not
/// UTF-8.
SourceSentence encode_source(const Tokenizer& tokenizer, std::string_view sentence, std::int64_t context);

struct TranslateOptions {
    /// How each line is decoded. Its begin and end are set by translate_lines to those of SentencePieceIds.
    BeamOptions beam;
    /// Read, translated and written together: the bound to what is held.
    std::int64_t lines = 1024;
    /// Writes each of beam.best hypotheses on a line, "NUMBER ||| TRANSLATION ||| SCORE" with the number of
    /// the line, from 0, as Moses and Marian have it.
    bool numbered = false;
};

/// What is read of one line, at most; the rest of it is passed over, with a notice.
inline constexpr std::size_t kLongestLine = std::size_t{1} << 18;

/// Translates `in`, a sentence a line, to `out`, its translation as text in one line, in the order of `in`. A
/// line ends at "\n" or "\r\n"; the last one may lack its end. A blank line becomes an empty one, a line
/// longer than the context is cut; `notice` is told, of the first few by their numbers (from 1) and at the
/// end of how many more. A line's translation is a function of that line alone, not of its neighbours,
/// options.lines or threads. `out` is flushed after each options.lines lines. Throws ConfigError for options
/// out of range, IoError when `out` cannot be written, and, once all lines before are written, DataError
/// naming a line that is not UTF-8, or IoError when `in` cannot be read.
void translate_lines(const EncoderDecoder& model, Stream& stream, const Tokenizer& source,
                     const Tokenizer& target, std::istream& in, std::ostream& out,
                     const TranslateOptions& options, const std::function<void(const std::string&)>& notice);

}  // namespace skein
