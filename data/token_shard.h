#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "model/base/files.h"

namespace skein {

/// What a shard says of its tokens: they are ids in [0, vocab_size) of a tokenizer of this name, whose file
/// has this SHA-256 (empty: not known).
struct ShardHeader {
    std::int64_t vocab_size = 0;
    std::string tokenizer, tokenizer_sha256;
    friend bool operator==(const ShardHeader&, const ShardHeader&) = default;
};

/// A shard of a data folder.
struct ShardEntry {
    std::string name;
    std::uint64_t tokens = 0, documents = 0;
    friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

/// One shard of kind "stream", open for reading: /tokens [n], and /offsets [documents + 1], where document d
/// is the tokens [offsets[d], offsets[d + 1]). Any number of threads may read at once.
class TokenShard {
  public:
    /// Throws MissingError when there is no such file, DataError when it is not a shard of this format and
    /// kind.
    explicit TokenShard(const std::string& path);

    const ShardHeader& header() const { return header_; }
    std::uint64_t tokens() const { return tokens_; }
    std::uint64_t documents() const { return documents_; }

    /// Tokens [begin, begin + out.size()). Throws DataError beyond the end, for bytes that are not what was
    /// written, and for an id outside the vocabulary.
    void read(std::uint64_t begin, std::span<std::int32_t> out) const;
    /// The first token of documents [begin, begin + out.size()); entry `documents()` is tokens().
    void read_offsets(std::uint64_t begin, std::span<std::uint64_t> out) const;

    /// Reads everything: all ids are in the vocabulary, offsets start at 0, never fall and end at tokens().
    /// Throws DataError.
    void check_all() const;

  private:
    Hdf5File file_;
    ShardHeader header_;
    std::uint64_t tokens_ = 0, documents_ = 0;
    bool is_wide_ = false;  // uint32, else uint16
};

/// Writes the shards PREFIX-00000.h5, PREFIX-00001.h5, … of one stream into a folder, each under a temporary
/// name until it is whole and durable. Without documents a shard is cut after exactly `shard_tokens`; with
/// them, at the first end of a document from there on. Holds a few MiB, whatever the length. Throws IoError;
/// what is unfinished is then removed.
class ShardWriter {
  public:
    ShardWriter(std::string folder, std::string prefix, ShardHeader header, bool has_documents,
                std::uint64_t shard_tokens, FileSystem& system = FileSystem::real());
    ShardWriter(const ShardWriter&) = delete;
    ShardWriter& operator=(const ShardWriter&) = delete;
    ~ShardWriter();

    /// More tokens of the current document. Throws DataError for an id outside the vocabulary.
    void append(std::span<const std::int32_t> ids);
    void end_document();
    /// Ends the last document if it has tokens, and the last shard. No tokens at all: no shard.
    std::vector<ShardEntry> finish();

  private:
    void open_shard();
    void flush_tokens(bool all);
    void flush_offsets();
    void close_shard();

    std::string folder_, prefix_;
    ShardHeader header_;
    bool has_documents_, is_wide_;
    std::uint64_t shard_tokens_;
    FileSystem& system_;

    std::vector<ShardEntry> done_;
    std::optional<Hdf5File> file_;
    std::string temporary_;
    std::uint64_t tokens_ = 0;          // of this shard, those waiting included
    std::uint64_t document_start_ = 0;  // in this shard
    std::uint64_t documents_ = 0;       // ended in this shard
    std::vector<std::int32_t> waiting_;
    std::vector<std::uint64_t> offsets_;  // waiting to be written
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
