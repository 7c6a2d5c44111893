#include "data/token_shard.h"

#include <algorithm>

#include "model/base/error.h"

namespace skein {

TokenShard::TokenShard(const std::string& path)
    : file_(std::make_unique<Hdf5File>(open_shard_file(path, DataKind::kStream))),
      header_(read_shard_header(*file_)),
      column_(*file_, "", header_.vocab_size) {}

ShardWriter::ShardWriter(std::string folder, std::string prefix, ShardHeader header, bool has_documents,
                         std::uint64_t shard_tokens, FileSystem& system)
    : files_(std::move(folder), std::move(prefix), DataKind::kStream, system),
      header_(std::move(header)),
      has_documents_(has_documents),
      shard_tokens_(shard_tokens) {
    if (shard_tokens_ == 0) throw ConfigError("shards: found 0 tokens a shard, wanted at least 1");
}

void ShardWriter::open_shard() {
    Hdf5File& file = files_.start();
    write_shard_header(file, header_);
    column_.emplace(file, "", header_.vocab_size);
}

void ShardWriter::append(std::span<const std::int32_t> ids) {
    require_ids(ids, header_.vocab_size);
    while (!ids.empty()) {
        if (!files_.is_open()) open_shard();
        const std::uint64_t room = has_documents_ ? ids.size() : shard_tokens_ - column_->tokens();
        const std::size_t count = std::min<std::uint64_t>(ids.size(), room);
        column_->append(ids.first(count));
        ids = ids.subspan(count);
        if (!has_documents_ && column_->tokens() == shard_tokens_) close_shard();
    }
}

void ShardWriter::end_document() {
    if (!files_.is_open()) open_shard();
    column_->end_sequence();
    if (column_->tokens() >= shard_tokens_) close_shard();
}

void ShardWriter::close_shard() {
    column_->finish();
    files_.finish({.name = {}, .tokens = column_->tokens(), .documents = column_->sequences()});
    column_.reset();
}

std::vector<ShardEntry> ShardWriter::finish() {
    if (files_.is_open()) close_shard();
    return files_.take_entries();
}

TokenStream::TokenStream(const std::string& folder, const std::vector<ShardEntry>& shards,
                         const ShardHeader& header) {
    for (const ShardEntry& entry : shards) {
        const std::string path = folder + "/" + entry.name;
        const TokenShard& shard = shards_.emplace_back(path);
        require_header(path, shard.header(), header);
        require_entry(path, {entry.name, shard.tokens(), shard.documents()}, entry);
        ends_.push_back(tokens() + shard.tokens());
    }
}

void TokenStream::read(std::uint64_t begin, std::span<std::int32_t> out) const {
    if (begin > tokens() || out.size() > tokens() - begin)
        throw DataError(text("tokens: read ", out.size(), " at ", begin, ": the stream has ", tokens()));
    while (!out.empty()) {
        const auto [shard, start] = locate(ends_, begin);
        const std::size_t count = std::min<std::uint64_t>(out.size(), shards_[shard].tokens() - start);
        shards_[shard].read(start, out.first(count));
        out = out.subspan(count);
        begin += count;
    }
}

}  // namespace skein
