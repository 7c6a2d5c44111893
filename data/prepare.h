#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/data_folder.h"
#include "data/documents.h"
#include "data/prepare_output.h"
#include "data/tokenizer.h"
#include "model/base/files.h"

namespace skein {

struct PrepareOptions {
    std::vector<std::string> text, valid_text;
    /// Without valid_text, this last part of the text validates: of n characters (bytes for the bytes
    /// tokenizer) the first floor(n · (1 - fraction)) train. Whole documents for line, blank-line and jsonl:
    /// one that starts before the cut trains. 0: no validation. Unset: 0.1 when there is no valid_text.
    std::optional<double> valid_fraction;
    /// "bytes", "chars" or "sentencepiece".
    std::string tokenizer = "sentencepiece";
    /// `sentencepiece` only. Pieces are learned from a sample of the training text: at most 2 M lines and 64
    /// MiB.
    SentencePieceOptions sentencepiece;
    Documents documents = Documents::kNone;
    std::string out;
    /// Tokens of a shard; see ShardWriter.
    std::uint64_t shard_tokens = 100'000'000;
    /// Called every few MiB of text, in the calling thread. May be empty.
    std::function<void(const PrepareProgress&)> progress;
};

/// Text to a data folder of token shards. The vocabulary of chars is every character of the text and the
/// validation text. Text is read piece by piece, once to look at it and once or twice more; never held whole.
/// The raw validation text stands in valid.txt (each document's text with a line end, for jsonl as well; two
/// for blank-line). The same options and text make the same bytes.
///
/// All is written to OUT/prepare.partial first and moved at the end, index.json last: when anything fails,
/// what OUT held before is still there and good; a stop in the middle of moving leaves a folder that
/// open_data_folder refuses. A data folder that skein wrote is replaced; other shards in OUT are an error
/// (ConfigError), other files are left.
///
/// Throws MissingError, IoError, ConfigError for options, DataError for text that is empty, not UTF-8 (the
/// file and the offset are named), or too short to give both parts a token.
DataFolder prepare_stream(const PrepareOptions& options, FileSystem& system = FileSystem::real());

}  // namespace skein
