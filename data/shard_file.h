#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/hdf5_file.h"
#include "model/base/files.h"

namespace skein {

/// What the samples of a data folder are.
enum class DataKind {
    kStream,  ///< one long row of tokens, for a decoder
    kPairs,   ///< a source and a target sentence, for an encoder-decoder
};

/// "stream" or "pairs".
std::string_view name_of(DataKind kind);

/// What a shard says of its tokens: they are ids in [0, vocab_size) of a tokenizer of this name, whose file
/// has this SHA-256 (empty: not known).
struct ShardHeader {
    std::int64_t vocab_size = 0;
    std::string tokenizer, tokenizer_sha256;
    friend bool operator==(const ShardHeader&, const ShardHeader&) = default;
};

/// A shard of a data folder. Of pairs, `tokens` are the target's and `documents` the pairs.
struct ShardEntry {
    std::string name;
    std::uint64_t tokens = 0, documents = 0;
    std::uint64_t source_tokens = 0;
    friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

/// Opens a shard and checks format, version and kind. Throws MissingError when there is no such file, else
/// DataError.
Hdf5File open_shard_file(const std::string& path, DataKind kind);

/// The kind that a shard says it is of. Throws as open_shard_file.
DataKind kind_of_shard(const std::string& path);

/// The attributes PREFIXvocab_size, PREFIXtokenizer, PREFIXtokenizer_sha256. Throws DataError.
ShardHeader read_shard_header(const Hdf5File& file, const std::string& prefix = "");
void write_shard_header(Hdf5File& file, const ShardHeader& header, const std::string& prefix = "");

/// Throws DataError unless a shard has the folder's vocabulary and tokenizer.
void require_header(const std::string& path, const ShardHeader& found, const ShardHeader& wanted);

/// Throws DataError unless a shard has the folder's lengths of it.
void require_entry(const std::string& path, const ShardEntry& found, const ShardEntry& wanted);

/// The file in which item `index` is, and its number there. `ends[i]`: the items of the files up to and with
/// i, > index for the last.
std::pair<std::size_t, std::uint64_t> locate(const std::vector<std::uint64_t>& ends, std::uint64_t index);

/// Makes the files PREFIX-00000.h5, PREFIX-00001.h5, … of a folder, one after the other, each under a
/// temporary name until it is whole and durable.
class ShardFiles {
  public:
    ShardFiles(std::string folder, std::string prefix, DataKind kind, FileSystem& system);
    ShardFiles(const ShardFiles&) = delete;
    ShardFiles& operator=(const ShardFiles&) = delete;
    /// Removes what is unfinished.
    ~ShardFiles();

    bool is_open() const { return file_.has_value(); }
    /// Starts the next file, with format, version and kind in it; it stays where it is until finish().
    /// Throws IoError.
    Hdf5File& start();
    /// Closes the file and gives it its name; the entry's own name is filled in. Throws IoError.
    void finish(ShardEntry entry);
    std::vector<ShardEntry> take_entries() { return std::move(done_); }

  private:
    std::string folder_, prefix_;
    DataKind kind_;
    FileSystem& system_;
    std::vector<ShardEntry> done_;
    std::optional<Hdf5File> file_;
    std::string name_, temporary_;
};

}  // namespace skein
