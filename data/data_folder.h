#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/pair_shard.h"
#include "data/token_shard.h"
#include "data/tokenizer.h"
#include "model/base/file_hashes.h"

namespace skein {

/// While `skein prepare` replaces the files of a folder, a file of this name stands in it, and it is no data
/// folder.
inline constexpr const char* kUnfinishedName = "prepare.unfinished";
inline constexpr const char* kIndexName = "index.json";

/// What is in a data folder: the shards in order, the tokenizer, and, when skein wrote it, every file's
/// hashes.
struct DataFolder {
    std::string path;
    DataKind kind = DataKind::kStream;
    /// Of pairs, the target's.
    ShardHeader header;
    /// Of pairs; the same as `header` when the vocabulary is joint.
    ShardHeader source_header;
    /// "none", "file", "line", "blank-line", "jsonl"; empty without an index, and for pairs.
    std::string documents;
    std::vector<ShardEntry> train, valid;
    /// The tokenizer's file; empty when the folder has none.
    std::string tokenizer_file;
    /// Of a source with a vocabulary of its own; else empty.
    std::string source_tokenizer_file;
    /// Pairs that were read and are not in the shards, by the reason; see prepare_pairs.
    std::map<std::string, std::uint64_t> dropped;
    /// Every file that index.json lists; empty without one.
    std::vector<FileHash> files;
    bool has_index = false;
    /// XXH3 that stands for the tokens: of index.json; without one, of what the shards say of themselves.
    std::string fingerprint;

    PairHeader pair_header() const { return {source_header, header}; }
    /// Of pairs, target tokens.
    std::uint64_t train_tokens() const;
    std::uint64_t valid_tokens() const;
    /// Documents, or pairs.
    std::uint64_t train_documents() const;
    std::uint64_t valid_documents() const;
};

/// Throws DataError, with what to do, unless the folder's samples are of this kind.
void require_kind(const DataFolder& folder, DataKind wanted);

/// How much of the files open_data_folder compares with index.json. HDF5 1.10 may crash or hang on a damaged
/// file (measured: 10 of 1,200 flipped bits at the head of a shard), so one rank should look at the bytes
/// before any opens a shard.
enum class DataCheck {
    kSizes,
    /// Every byte of up to kMostCheckedBytes in all; of a larger folder the first block of each file.
    kBytes,
};
inline constexpr std::uint64_t kMostCheckedBytes = std::uint64_t{4} << 30;

/// Reads index.json, checks its seal, all files by `check`, that no shard is unlisted, and that the
/// tokenizer, or each of the two, is the shards' own (SHA-256, vocabulary). Without index.json, shards are
/// found by name, train-NNNNN.h5 and valid-NNNNN.h5. Throws MissingError when there is no such folder,
/// nothing in it to train on, or not a file that index.json lists; DataError for anything else.
DataFolder open_data_folder(const std::string& path, DataCheck check = DataCheck::kBytes);

/// The bytes of index.json for these fields.
std::string make_index(const DataFolder& folder);

/// train-NNNNN.h5 or valid-NNNNN.h5, with any number of digits.
bool is_shard_name(const std::string& name);

/// Names of the files in a folder for which `wanted` is true, sorted. Throws IoError.
std::vector<std::string> list_files(const std::string& folder,
                                    const std::function<bool(const std::string&)>& wanted);

struct DataReport {
    /// None when index.json itself cannot be read.
    std::optional<DataFolder> folder;
    /// In the order of files; empty: every byte is as it was written.
    std::vector<FileFault> faults;
};

/// Checks every byte of every file of the folder, and that the shards' tokens are in the vocabulary. Without
/// index.json only what the shards themselves can tell: Fletcher-32, ids and offsets. Throws MissingError
/// when there is no such folder.
DataReport verify_data_folder(const std::string& path);

}  // namespace skein
