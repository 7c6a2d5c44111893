#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/hdf5_file.h"

namespace skein {

/// Sequences of ids in an open shard: GROUP/tokens [n], uint16 or uint32, and GROUP/offsets [sequences + 1],
/// uint64: sequence s is the tokens [offsets[s], offsets[s + 1]). Any number of threads may read at once.
class TokenColumn {
  public:
    /// `group` is "" or "/NAME"; `file` outlives this and is not moved. Throws DataError when the datasets
    /// are not there, are of another type, or do not fit each other.
    TokenColumn(const Hdf5File& file, const std::string& group, std::int64_t vocab_size);

    std::uint64_t tokens() const { return tokens_; }
    std::uint64_t sequences() const { return sequences_; }

    /// Tokens [begin, begin + out.size()). Throws DataError beyond the end, for bytes that are not what was
    /// written, and for an id outside the vocabulary.
    void read(std::uint64_t begin, std::span<std::int32_t> out) const;
    /// Entries [begin, begin + out.size()) of the offsets.
    void read_offsets(std::uint64_t begin, std::span<std::uint64_t> out) const;
    /// Calls `take` with all entries of the offsets in order, piece by piece. Throws DataError for one that
    /// is less than the one before.
    void each_offsets(const std::function<void(std::span<const std::uint64_t>)>& take) const;
    /// Reads everything. Throws DataError.
    void check_all() const;

  private:
    const Hdf5File* file_;
    std::string tokens_name_, offsets_name_;
    std::int64_t vocab_size_;
    std::uint64_t tokens_ = 0, sequences_ = 0;
    bool is_wide_ = false;  // uint32, else uint16
};

/// Throws DataError for an id outside [0, vocab_size).
void require_ids(std::span<const std::int32_t> ids, std::int64_t vocab_size);

/// Writes such sequences into a shard that is being made. Holds a few MiB, whatever the length.
class TokenColumnWriter {
  public:
    /// Creates the datasets, chunked, with Fletcher-32. `file` outlives this and is not moved.
    TokenColumnWriter(Hdf5File& file, const std::string& group, std::int64_t vocab_size);

    /// More tokens of the current sequence; the ids are in the vocabulary.
    void append(std::span<const std::int32_t> ids);
    void end_sequence();
    /// Ends the last sequence if it has tokens, and writes all that waits.
    void finish();

    std::uint64_t tokens() const { return tokens_; }
    std::uint64_t sequences() const { return sequences_; }

  private:
    void flush_tokens(bool all);
    void flush_offsets();

    Hdf5File* file_;
    std::string tokens_name_, offsets_name_;
    bool is_wide_;
    std::uint64_t tokens_ = 0;  // those waiting included
    std::uint64_t sequences_ = 0;
    std::uint64_t sequence_start_ = 0;
    std::vector<std::int32_t> waiting_;
    std::vector<std::uint64_t> offsets_{0};  // waiting to be written
};

}  // namespace skein
