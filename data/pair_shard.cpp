#include "data/pair_shard.h"

#include <array>
#include <limits>

#include "data/tokenizer.h"
#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kSource = "/source";
constexpr const char* kTarget = "/target";
constexpr const char* kSourcePrefix = "source_";  // of attributes

PairHeader read_header(const Hdf5File& file) {
    PairHeader header;
    header.source = header.target = read_shard_header(file);
    if (file.has_attribute(std::string(kSourcePrefix) + "vocab_size"))
        header.source = read_shard_header(file, kSourcePrefix);
    for (const ShardHeader& side : {header.source, header.target})
        if (side.vocab_size <= SentencePieceIds::kPadding)
            throw DataError(text(file.path(), ": found vocab_size ", side.vocab_size,
                                 ", wanted more than the ids of begin, end and padding, 1 to ",
                                 SentencePieceIds::kPadding));
    return header;
}

/// Sets one side of `lengths`, which has an entry a sequence.
void fill_lengths(const TokenColumn& column, const std::string& where, std::uint32_t PairLength::*side,
                  std::vector<PairLength>& lengths) {
    std::uint64_t before = 0, entry = 0;
    column.each_offsets([&](std::span<const std::uint64_t> offsets) {
        for (const std::uint64_t offset : offsets) {
            if (entry > 0) {
                const std::uint64_t length = offset - before;
                if (length == 0)
                    throw DataError(text(where, ": pair ", entry - 1, " is empty, wanted at least a token"));
                if (length > std::numeric_limits<std::uint32_t>::max())
                    throw DataError(text(where, ": pair ", entry - 1, " has ", length, " tokens"));
                lengths[entry - 1].*side = static_cast<std::uint32_t>(length);
            }
            before = offset;
            ++entry;
        }
    });
}

void read_sequence(const TokenColumn& column, std::uint64_t sequence, std::vector<std::int32_t>& out) {
    std::array<std::uint64_t, 2> ends{};
    column.read_offsets(sequence, ends);
    if (ends[1] < ends[0] || ends[1] > column.tokens())
        throw DataError(text("pairs: the offsets of sentence ", sequence, " are ", ends[0], " and ", ends[1],
                             " of ", column.tokens(), " tokens"));
    const std::size_t at = out.size();
    out.resize(at + (ends[1] - ends[0]));
    column.read(ends[0], std::span(out).subspan(at));
}

}  // namespace

PairShard::PairShard(const std::string& path)
    : file_(std::make_unique<Hdf5File>(open_shard_file(path, DataKind::kPairs))),
      header_(read_header(*file_)),
      source_(*file_, kSource, header_.source.vocab_size),
      target_(*file_, kTarget, header_.target.vocab_size) {
    if (source_.sequences() != target_.sequences())
        throw DataError(text(path, ": found ", source_.sequences(), " source and ", target_.sequences(),
                             " target sentences, wanted as many of both"));
}

std::vector<PairLength> PairShard::read_lengths() const {
    std::vector<PairLength> lengths(pairs());
    fill_lengths(source_, file_->path() + ", /source", &PairLength::source, lengths);
    fill_lengths(target_, file_->path() + ", /target", &PairLength::target, lengths);
    return lengths;
}

void PairShard::read(std::uint64_t pair, std::vector<std::int32_t>& source,
                     std::vector<std::int32_t>& target) const {
    read_sequence(source_, pair, source);
    read_sequence(target_, pair, target);
}

void PairShard::check_all() const {
    source_.check_all();
    target_.check_all();
    read_lengths();
}

PairWriter::PairWriter(std::string folder, std::string prefix, PairHeader header, std::uint64_t shard_tokens,
                       FileSystem& system)
    : files_(std::move(folder), std::move(prefix), DataKind::kPairs, system),
      header_(std::move(header)),
      shard_tokens_(shard_tokens) {
    if (shard_tokens_ == 0) throw ConfigError("shards: found 0 tokens a shard, wanted at least 1");
}

void PairWriter::open_shard() {
    Hdf5File& file = files_.start();
    write_shard_header(file, header_.target);
    if (!header_.is_joint()) write_shard_header(file, header_.source, kSourcePrefix);
    source_.emplace(file, kSource, header_.source.vocab_size);
    target_.emplace(file, kTarget, header_.target.vocab_size);
}

void PairWriter::append(std::span<const std::int32_t> source, std::span<const std::int32_t> target) {
    if (source.empty() || target.empty())
        throw DataError(text("shards: found a pair of ", source.size(), " and ", target.size(),
                             " tokens, wanted at least one of each"));
    require_ids(source, header_.source.vocab_size);
    require_ids(target, header_.target.vocab_size);
    if (!files_.is_open()) open_shard();
    source_->append(source);
    source_->end_sequence();
    target_->append(target);
    target_->end_sequence();
    if (source_->tokens() + target_->tokens() >= shard_tokens_) close_shard();
}

void PairWriter::close_shard() {
    source_->finish();
    target_->finish();
    files_.finish({.name = {},
                   .tokens = target_->tokens(),
                   .documents = target_->sequences(),
                   .source_tokens = source_->tokens()});
    source_.reset();
    target_.reset();
}

std::vector<ShardEntry> PairWriter::finish() {
    if (files_.is_open()) close_shard();
    return files_.take_entries();
}

PairStream::PairStream(const std::string& folder, const std::vector<ShardEntry>& shards,
                       const PairHeader& header) {
    for (const ShardEntry& entry : shards) {
        const std::string path = folder + "/" + entry.name;
        const PairShard& shard = shards_.emplace_back(path);
        require_header(path, shard.header().target, header.target);
        require_header(path, shard.header().source, header.source);
        require_entry(path, {entry.name, shard.target().tokens(), shard.pairs(), shard.source().tokens()},
                      entry);
        ends_.push_back(pairs() + shard.pairs());
    }
}

std::vector<PairLength> PairStream::read_lengths() const {
    std::vector<PairLength> lengths;
    lengths.reserve(pairs());
    for (const PairShard& shard : shards_) {
        const std::vector<PairLength> part = shard.read_lengths();
        lengths.insert(lengths.end(), part.begin(), part.end());
    }
    return lengths;
}

void PairStream::read(std::uint64_t pair, std::vector<std::int32_t>& source,
                      std::vector<std::int32_t>& target) const {
    if (pair >= pairs()) throw DataError(text("pairs: read pair ", pair, ": there are ", pairs()));
    const auto [shard, at] = locate(ends_, pair);
    shards_[shard].read(at, source, target);
}

}  // namespace skein
