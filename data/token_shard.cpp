#include "data/token_shard.h"

#include <algorithm>
#include <cstdio>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kFormat = "skein-tokens";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMostUint16 = 65'536, kMostVocabulary = std::int64_t{1} << 31;
/// Elements: small, because training reads short windows at random places and each reads its whole chunk.
constexpr std::uint64_t kChunk = 16'384;
constexpr std::size_t kWriteTokens = 64 * kChunk;
constexpr std::size_t kReadTokens = std::size_t{1} << 18;

template <class Stored>
void read_as(const Hdf5File& file, std::uint64_t begin, std::span<std::int32_t> out,
             std::int64_t vocab_size) {
    std::vector<Stored> stored(std::min(out.size(), kReadTokens));
    for (std::size_t at = 0; at < out.size(); at += kReadTokens) {
        const std::span<Stored> part(stored.data(), std::min(kReadTokens, out.size() - at));
        file.read<Stored>("/tokens", begin + at, part);
        for (std::size_t i = 0; i < part.size(); ++i) {
            if (part[i] >= vocab_size)
                throw DataError(text(file.path(), ", /tokens: token ", begin + at + i, " is ", part[i],
                                     ", wanted an id of the vocabulary, [0, ", vocab_size, ")"));
            out[at + i] = static_cast<std::int32_t>(part[i]);
        }
    }
}

template <class Stored>
void append_as(Hdf5File& file, std::span<const std::int32_t> ids) {
    const std::vector<Stored> stored(ids.begin(), ids.end());
    file.append<Stored>("/tokens", stored);
}

}  // namespace

TokenShard::TokenShard(const std::string& path) : file_(Hdf5File::open_readonly(path)) {
    if (const std::string format = file_.string_attribute("format"); format != kFormat)
        throw DataError(text(path, ": found format \"", format, "\", wanted \"", kFormat, "\""));
    if (const std::int64_t version = file_.int_attribute("version"); version != kVersion)
        throw DataError(text(path, ": found version ", version, " of ", kFormat, ", wanted ", kVersion));
    if (const std::string kind = file_.string_attribute("kind"); kind != "stream")
        throw DataError(text(path, ": found a shard of kind \"", kind, "\", wanted \"stream\""));
    header_ = {file_.int_attribute("vocab_size"), file_.string_attribute("tokenizer"),
               file_.string_attribute("tokenizer_sha256")};
    if (header_.vocab_size < 1 || header_.vocab_size > kMostVocabulary)
        throw DataError(
            text(path, ": found vocab_size ", header_.vocab_size, ", wanted 1 to ", kMostVocabulary));
    for (const char* name : {"/tokens", "/offsets"})
        if (!file_.has_dataset(name)) throw DataError(text(path, ": has no dataset ", name));
    const Hdf5Type type = file_.type("/tokens");
    if (type != Hdf5Type::kU16 && type != Hdf5Type::kU32)
        throw DataError(text(path, ", /tokens: found ", name_of(type), ", wanted uint16 or uint32"));
    is_wide_ = type == Hdf5Type::kU32;
    if (file_.type("/offsets") != Hdf5Type::kU64)
        throw DataError(text(path, ", /offsets: found ", name_of(file_.type("/offsets")), ", wanted uint64"));
    if (file_.shape("/tokens").size() != 1 || file_.shape("/offsets").size() != 1)
        throw DataError(text(path, ": /tokens and /offsets must have one axis"));
    tokens_ = file_.elements("/tokens");
    const std::uint64_t offsets = file_.elements("/offsets");
    if (offsets < 1) throw DataError(text(path, ", /offsets: is empty, wanted documents + 1 entries"));
    documents_ = offsets - 1;
    std::uint64_t first = 0, last = 0;
    read_offsets(0, {&first, 1});
    read_offsets(documents_, {&last, 1});
    if (first != 0 || last != tokens_)
        throw DataError(text(path, ", /offsets: go from ", first, " to ", last, ", wanted 0 to ", tokens_,
                             ", the number of tokens"));
}

void TokenShard::read(std::uint64_t begin, std::span<std::int32_t> out) const {
    if (is_wide_) {
        read_as<std::uint32_t>(file_, begin, out, header_.vocab_size);
    } else {
        read_as<std::uint16_t>(file_, begin, out, header_.vocab_size);
    }
}

void TokenShard::read_offsets(std::uint64_t begin, std::span<std::uint64_t> out) const {
    file_.read<std::uint64_t>("/offsets", begin, out);
}

void TokenShard::check_all() const {
    std::vector<std::int32_t> ids(kReadTokens);
    for (std::uint64_t at = 0; at < tokens_; at += kReadTokens)
        read(at, std::span(ids).first(std::min<std::uint64_t>(kReadTokens, tokens_ - at)));
    std::vector<std::uint64_t> offsets(kReadTokens);
    std::uint64_t before = 0;
    for (std::uint64_t at = 0; at <= documents_; at += kReadTokens) {
        const auto part = std::span(offsets).first(std::min<std::uint64_t>(kReadTokens, documents_ + 1 - at));
        read_offsets(at, part);
        for (std::size_t i = 0; i < part.size(); before = part[i++])
            if (part[i] < before)
                throw DataError(text(file_.path(), ", /offsets: entry ", at + i, " is ", part[i],
                                     ", less than the one before, ", before));
    }
}

ShardWriter::ShardWriter(std::string folder, std::string prefix, ShardHeader header, bool has_documents,
                         std::uint64_t shard_tokens, FileSystem& system)
    : folder_(std::move(folder)),
      prefix_(std::move(prefix)),
      header_(std::move(header)),
      has_documents_(has_documents),
      is_wide_(header_.vocab_size > kMostUint16),
      shard_tokens_(shard_tokens),
      system_(system) {
    if (shard_tokens_ == 0) throw ConfigError("shards: found 0 tokens a shard, wanted at least 1");
}

ShardWriter::~ShardWriter() {
    if (!file_) return;
    file_.reset();
    system_.unlink(temporary_.c_str());
}

void ShardWriter::open_shard() {
    char number[16];
    std::snprintf(number, sizeof number, "-%05zu.h5", done_.size());
    done_.push_back({prefix_ + number, 0, 0});
    temporary_ = folder_ + "/" + done_.back().name + ".tmp";
    file_ = Hdf5File::create(temporary_, system_);
    file_->set_attribute("format", kFormat);
    file_->set_attribute("version", kVersion);
    file_->set_attribute("kind", "stream");
    file_->set_attribute("vocab_size", header_.vocab_size);
    file_->set_attribute("tokenizer", header_.tokenizer);
    file_->set_attribute("tokenizer_sha256", header_.tokenizer_sha256);
    const Hdf5DatasetOptions options{.fletcher32 = true, .extendible = true, .chunk = {kChunk}};
    file_->create_dataset("/tokens", is_wide_ ? Hdf5Type::kU32 : Hdf5Type::kU16, {0}, options);
    file_->create_dataset("/offsets", Hdf5Type::kU64, {0}, options);
    tokens_ = document_start_ = documents_ = 0;
    offsets_.assign(1, 0);
}

/// In whole chunks until the end, so that no chunk is written twice.
void ShardWriter::flush_tokens(bool all) {
    const std::size_t count = all ? waiting_.size() : waiting_.size() / kWriteTokens * kWriteTokens;
    const std::span<const std::int32_t> part(waiting_.data(), count);
    if (is_wide_) {
        append_as<std::uint32_t>(*file_, part);
    } else {
        append_as<std::uint16_t>(*file_, part);
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
}

void ShardWriter::flush_offsets() {
    file_->append<std::uint64_t>("/offsets", offsets_);
    offsets_.clear();
}

void ShardWriter::append(std::span<const std::int32_t> ids) {
    for (const std::int32_t id : ids)
        if (id < 0 || id >= header_.vocab_size)
            throw DataError(text("shards: found id ", id, ", wanted one in [0, ", header_.vocab_size, ")"));
    while (!ids.empty()) {
        if (!file_) open_shard();
        const std::uint64_t room = has_documents_ ? ids.size() : shard_tokens_ - tokens_;
        const std::size_t count = std::min({ids.size(), room, kWriteTokens});
        waiting_.insert(waiting_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
        tokens_ += count;
        ids = ids.subspan(count);
        if (waiting_.size() >= kWriteTokens) flush_tokens(false);
        if (!has_documents_ && tokens_ == shard_tokens_) close_shard();
    }
}

void ShardWriter::end_document() {
    if (!file_) open_shard();
    offsets_.push_back(tokens_);
    document_start_ = tokens_;
    ++documents_;
    if (offsets_.size() >= kWriteTokens / 8) flush_offsets();
    if (tokens_ >= shard_tokens_) close_shard();
}

void ShardWriter::close_shard() {
    if (tokens_ > document_start_) {
        offsets_.push_back(tokens_);
        ++documents_;
    }
    flush_tokens(true);
    flush_offsets();
    file_->close();
    const std::string name = folder_ + "/" + done_.back().name;
    rename_durable(system_, temporary_, name);
    file_.reset();
    done_.back().tokens = tokens_;
    done_.back().documents = documents_;
}

std::vector<ShardEntry> ShardWriter::finish() {
    if (file_) close_shard();
    return std::move(done_);
}

TokenStream::TokenStream(const std::string& folder, const std::vector<ShardEntry>& shards,
                         const ShardHeader& header) {
    for (const ShardEntry& entry : shards) {
        const std::string path = folder + "/" + entry.name;
        const TokenShard& shard = shards_.emplace_back(path);
        if (shard.header().vocab_size != header.vocab_size)
            throw DataError(text(path, ": found vocab_size ", shard.header().vocab_size, ", wanted ",
                                 header.vocab_size, " as the folder has it"));
        if (shard.header() != header)
            throw DataError(text(path, ": found tokenizer ", shard.header().tokenizer, " (sha256 ",
                                 shard.header().tokenizer_sha256, "), wanted ", header.tokenizer, " (",
                                 header.tokenizer_sha256, ") as the folder has it"));
        if (shard.tokens() != entry.tokens || shard.documents() != entry.documents)
            throw DataError(text(path, ": found ", shard.tokens(), " tokens in ", shard.documents(),
                                 " documents, wanted ", entry.tokens, " in ", entry.documents));
        ends_.push_back(tokens() + shard.tokens());
    }
}

void TokenStream::read(std::uint64_t begin, std::span<std::int32_t> out) const {
    if (begin > tokens() || out.size() > tokens() - begin)
        throw DataError(text("tokens: read ", out.size(), " at ", begin, ": the stream has ", tokens()));
    while (!out.empty()) {
        const auto at =
            std::upper_bound(ends_.begin(), ends_.end(), begin);  // the first shard that ends after `begin`
        const auto shard = static_cast<std::size_t>(at - ends_.begin());
        const std::uint64_t start = *at - shards_[shard].tokens();
        const std::size_t count = std::min<std::uint64_t>(out.size(), *at - begin);
        shards_[shard].read(begin - start, out.first(count));
        out = out.subspan(count);
        begin += count;
    }
}

}  // namespace skein
