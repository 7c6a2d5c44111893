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

/// What a shard of pairs says of its tokens. Equal headers: one joint vocabulary.
struct PairHeader {
    ShardHeader source, target;
    bool is_joint() const { return source == target; }
    friend bool operator==(const PairHeader&, const PairHeader&) = default;
};

/// Tokens of a pair's sides as they are stored.
struct PairLength {
    std::uint32_t source = 0, target = 0;
    friend bool operator==(const PairLength&, const PairLength&) = default;
};

/// One shard of kind "pairs", open for reading: /source/tokens, /source/offsets, /target/tokens,
/// /target/offsets, as TokenColumn has them; pair p is sequence p of both. Sentences are stored bare, without
/// begin and end tokens: batches add them (pair_batch.h), with the ids of SentencePieceIds, which every
/// vocabulary of pairs has. The attributes vocab_size, tokenizer and
/// tokenizer_sha256 speak of both sides; where the source has a vocabulary of its own, they speak of the
/// target, and source_vocab_size, source_tokenizer, source_tokenizer_sha256 of the source. Any number of
/// threads may read at once.
class PairShard {
  public:
    /// Throws MissingError when there is no such file, DataError when it is not a shard of this format and
    /// kind, or its sides have different numbers of sentences.
    explicit PairShard(const std::string& path);

    const PairHeader& header() const { return header_; }
    std::uint64_t pairs() const { return source_.sequences(); }
    const TokenColumn& source() const { return source_; }
    const TokenColumn& target() const { return target_; }

    /// By pair. Throws DataError for offsets that fall and for an empty side.
    std::vector<PairLength> read_lengths() const;
    /// Appends the sentences of a pair. Throws DataError.
    void read(std::uint64_t pair, std::vector<std::int32_t>& source, std::vector<std::int32_t>& target) const;

    /// Reads everything: ids are in the vocabulary, offsets never fall, no side is empty. Throws DataError.
    void check_all() const;

  private:
    std::unique_ptr<Hdf5File> file_;
    PairHeader header_;
    TokenColumn source_, target_;
};

/// Writes the shards PREFIX-00000.h5, PREFIX-00001.h5, … of pairs into a folder, each under a temporary name
/// until it is whole and durable. A shard ends at the first pair with which its sides have `shard_tokens`
/// together. Throws IoError; what is unfinished is then removed.
class PairWriter {
  public:
    PairWriter(std::string folder, std::string prefix, PairHeader header, std::uint64_t shard_tokens,
               FileSystem& system = FileSystem::real());

    /// Throws DataError for an empty side and for an id outside the vocabulary.
    void append(std::span<const std::int32_t> source, std::span<const std::int32_t> target);
    /// No pairs at all: no shard.
    std::vector<ShardEntry> finish();

  private:
    void open_shard();
    void close_shard();

    ShardFiles files_;
    PairHeader header_;
    std::uint64_t shard_tokens_;
    std::optional<TokenColumnWriter> source_, target_;  // of the open file
};

/// Several shards as one row of pairs. Any number of threads may read at once.
class PairStream {
  public:
    /// Opens `shards` of `folder` in this order. Throws DataError when one has another header or length than
    /// given.
    PairStream(const std::string& folder, const std::vector<ShardEntry>& shards, const PairHeader& header);

    std::uint64_t pairs() const { return ends_.empty() ? 0 : ends_.back(); }
    /// As PairShard, across shards.
    std::vector<PairLength> read_lengths() const;
    void read(std::uint64_t pair, std::vector<std::int32_t>& source, std::vector<std::int32_t>& target) const;

  private:
    std::vector<PairShard> shards_;
    std::vector<std::uint64_t> ends_;  // pairs up to and with shard i
};

}  // namespace skein
