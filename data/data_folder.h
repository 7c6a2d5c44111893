#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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
    ShardHeader header;
    /// "none", "file", "line", "blank-line", "jsonl"; empty without an index.
    std::string documents;
    std::vector<ShardEntry> train, valid;
    /// The tokenizer's file; empty when the folder has none.
    std::string tokenizer_file;
    /// Every file that index.json lists; empty without one.
    std::vector<FileHash> files;
    bool has_index = false;
    /// XXH3 that stands for the tokens: of index.json; without one, of what the shards say of themselves.
    std::string fingerprint;

    std::uint64_t train_tokens() const;
    std::uint64_t valid_tokens() const;
};

/// Reads index.json, checks its seal, the sizes of all files, that no shard is unlisted, and that the
/// tokenizer is the shards' own (SHA-256, vocabulary). Without index.json, shards are found by name,
/// train-NNNNN.h5 and valid-NNNNN.h5. Throws MissingError when there is no such folder or nothing in it to
/// train on; DataError for anything wrong.
DataFolder open_data_folder(const std::string& path);

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
