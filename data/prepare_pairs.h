#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/data_folder.h"
#include "data/prepare_output.h"
#include "data/tokenizer.h"
#include "model/base/files.h"

namespace skein {

/// What becomes of a pair of which a side has nothing but white space.
enum class EmptySides { kDrop, kError };

/// "drop" or "error". Throws ConfigError for any other.
EmptySides empty_sides_from(std::string_view name);

struct PreparePairsOptions {
    /// Sentences, one a line, plain or gzip: line n of source file i and line n of target file i are a pair.
    std::vector<std::string> source, target, valid_source, valid_target;
    /// Without validation files, this last part of the pairs validates: of n pairs (empty ones included) the
    /// first floor(n · (1 - fraction)) train. 0: no validation. Unset: 0.1 when there are no validation
    /// files.
    std::optional<double> valid_fraction;
    /// One SentencePiece vocabulary for both sides, learned from both; else one for each, of these sizes.
    /// Pieces are learned from a sample of the training text: at most 2 M lines and 64 MiB a vocabulary.
    bool joint = true;
    SentencePieceOptions sentencepiece;
    /// Not joint only: the size of the source's vocabulary; 0: as the target's.
    std::int32_t source_vocab_size = 0;

    EmptySides empty_sides = EmptySides::kDrop;
    /// Training pairs with more tokens than this on a side are dropped; 0: none is.
    std::uint64_t most_tokens = 0;
    /// Training pairs whose longer side has more than this many times the tokens of the shorter are dropped;
    /// 0: none is.
    double most_ratio = 0.0;

    std::string out;
    /// Tokens of a shard; see PairWriter.
    std::uint64_t shard_tokens = 100'000'000;
    /// Called every few MiB of text, in the calling thread. May be empty.
    std::function<void(const PrepareProgress&)> progress;
};

/// Sentence pairs to a data folder of kind "pairs". DataFolder::dropped counts what was left out: "empty",
/// "long" and "ratio" of the training pairs (by the first that applies), "valid-empty" of validation; reasons
/// that did not occur are not in it. The raw validation text stands in valid.source and valid.target, a line
/// a pair of the validation shards. Text is read line by line, three times; never held whole. The same
/// options and text make the same bytes. How the folder is replaced: make_data_folder.
///
/// Throws MissingError, IoError, ConfigError for options; DataError for files of different numbers of lines
/// (both are named), text that is not UTF-8, damaged gzip, and when no pair is left for a part.
DataFolder prepare_pairs(const PreparePairsOptions& options, FileSystem& system = FileSystem::real());

}  // namespace skein
