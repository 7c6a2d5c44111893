#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "data/shard_file.h"
#include "data/token_column.h"
#include "model/base/files.h"

namespace skein {

/// One shard of kind "stream", open for reading: /tokens [n], and /offsets [documents + 1], where document d
/// is the tokens [offsets[d], offsets[d + 1]). Any number of threads may read at once.
class TokenShard {
  public:
    /// Throws MissingError when there is no such file, DataError when it is not a shard of this format and
    /// kind.
    explicit TokenShard(const std::string& path);

    const ShardHeader& header() const { return header_; }
    std::uint64_t tokens() const { return column_.tokens(); }
    std::uint64_t documents() const { return column_.sequences(); }

    /// Tokens [begin, begin + out.size()). Throws DataError beyond the end, for bytes that are not what was
    /// written, and for an id outside the vocabulary.
    void read(std::uint64_t begin, std::span<std::int32_t> out) const { column_.read(begin, out); }
    /// The first token of documents [begin, begin + out.size()); entry `documents()` is tokens().
    void read_offsets(std::uint64_t begin, std::span<std::uint64_t> out) const {
        column_.read_offsets(begin, out);
    }

    /// Reads everything: all ids are in the vocabulary, offsets start at 0, never fall and end at tokens().
    /// Throws DataError.
    void check_all() const { column_.check_all(); }

  private:
    std::unique_ptr<Hdf5File> file_;
    ShardHeader header_;
    TokenColumn column_;
};

/// Writes the shards PREFIX-00000.h5, PREFIX-00001.h5, … of one stream into a folder, each under a temporary
/// name until it is whole and durable. Without documents a shard is cut after exactly `shard_tokens`; with
/// them, at the first end of a document from there on. Holds a few MiB, whatever the length. Throws IoError;
/// what is unfinished is then removed.
class ShardWriter {
  public:
    ShardWriter(std::string folder, std::string prefix, ShardHeader header, bool has_documents,
                std::uint64_t shard_tokens, FileSystem& system = FileSystem::real());

    /// More tokens of the current document. Throws DataError for an id outside the vocabulary.
    void append(std::span<const std::int32_t> ids);
    void end_document();
    /// Ends the last document if it has tokens, and the last shard. No tokens at all: no shard.
    std::vector<ShardEntry> finish();

  private:
    void open_shard();
    void close_shard();

    ShardFiles files_;
    ShardHeader header_;
    bool has_documents_;
    std::uint64_t shard_tokens_;
    std::optional<TokenColumnWriter> column_;  // of the open file
};

/// Several shards as one long row of tokens. Any number of threads may read at once.
class TokenStream {
  public:
    /// Opens `shards` of `folder` in this order. Throws DataError when one has another header or length than
    /// given.
    TokenStream(const std::string& folder, const std::vector<ShardEntry>& shards, const ShardHeader& header);

    std::uint64_t tokens() const { return ends_.empty() ? 0 : ends_.back(); }
    /// As TokenShard::read, across shards.
    void read(std::uint64_t begin, std::span<std::int32_t> out) const;

  private:
    std::vector<TokenShard> shards_;
    std::vector<std::uint64_t> ends_;  // tokens up to and with shard i
};

}  // namespace skein
