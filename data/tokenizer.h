#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/base/files.h"

namespace skein {

/// Text to token ids in [0, vocab_size) and back. Immutable, so any number of threads may use it.
class Tokenizer {
  public:
    virtual ~Tokenizer() = default;

    /// "bytes", "chars" or "sentencepiece".
    virtual std::string name() const = 0;
    virtual std::int32_t vocab_size() const = 0;
    /// The id that closes a document, when there is one.
    virtual std::optional<std::int32_t> end_of_document() const = 0;
    /// True when encode() wants UTF-8.
    virtual bool wants_utf8() const = 0;

    /// Appends the ids of `text`; no end token. The ids of a text are those of its lines (each with its '\n')
    /// one after the other. Throws DataError for text that has no ids: invalid UTF-8, a character outside the
    /// vocabulary.
    virtual void encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
    /// The end token gives nothing. Throws DataError for an id outside the vocabulary.
    virtual std::string decode(std::span<const std::int32_t> ids) const = 0;

    /// The name under which it is kept in a data or checkpoint folder: "tokenizer.json" or "tokenizer.model".
    virtual std::string file_name() const = 0;
    /// The bytes of that file.
    virtual const std::string& file_bytes() const = 0;
};

/// SHA-256 of the tokenizer's file: what a shard's attribute tokenizer_sha256 holds.
std::string sha256_of(const Tokenizer& tokenizer);

/// Ids 0 to 255 are the bytes; id 256 closes a document when `with_end`.
std::unique_ptr<Tokenizer> make_bytes_tokenizer(bool with_end);

/// Ids are the ranks of `code_points`, which are distinct and ascending; one more id closes a document when
/// `with_end`.
std::unique_ptr<Tokenizer> make_chars_tokenizer(const std::vector<std::uint32_t>& code_points, bool with_end);

/// The ids of SentencePiece's special pieces. kEnd closes a document.
struct SentencePieceIds {
    static constexpr std::int32_t kUnknown = 0, kBegin = 1, kEnd = 2, kPadding = 3;
};

struct SentencePieceOptions {
    std::int32_t vocab_size = 8000;
    /// "bpe" or "unigram".
    std::string type = "bpe";
    /// "identity", which changes nothing; or SentencePiece's "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf",
    /// which also drop extra spaces and line ends and put a space before each line.
    std::string normalization = "identity";
    /// The share of all characters that are pieces of their own; the rarest of the rest fall back to bytes.
    double character_coverage = 0.9995;
};

/// Learns pieces from lines (without their line ends; longer ones than kLongestSentence bytes are not used).
/// What is not covered falls back to bytes, so every text has ids, and with "identity" decode() gives it back
/// exactly, but for U+2581, which SentencePiece writes for a space. The same lines give the same tokenizer.
/// Throws ConfigError when SentencePiece refuses the options (a vocabulary too large or too small for the
/// text).
inline constexpr std::size_t kLongestSentence = 4096;
std::unique_ptr<Tokenizer> train_sentencepiece(const std::vector<std::string>& lines,
                                               const SentencePieceOptions& options);

/// Stands before file_name() where the source side of pairs has a vocabulary of its own; the target's file
/// then has the plain name.
inline constexpr const char* kSourceTokenizerPrefix = "source-";

/// Writes PREFIXfile_name(). Throws IoError.
void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder,
                    FileSystem& system = FileSystem::real(), const std::string& prefix = "");

/// The name of the tokenizer's file in a data or checkpoint folder; none when there is no such file.
std::optional<std::string> find_tokenizer_file(const std::string& folder, const std::string& prefix = "");
/// Throws MissingError when the folder has none, DataError when it is damaged.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder, const std::string& prefix = "");
/// The source's own tokenizer where the folder has one, else the tokenizer. Throws as load_tokenizer.
std::unique_ptr<Tokenizer> load_source_tokenizer(const std::string& folder);

}  // namespace skein
