#include "data/shard_file.h"

#include <algorithm>
#include <cstdio>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kFormat = "skein-tokens";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMostVocabulary = std::int64_t{1} << 31;

/// Its format and version are checked.
std::string kind_name(const Hdf5File& file) {
    const std::string& path = file.path();
    if (const std::string format = file.string_attribute("format"); format != kFormat)
        throw DataError(text(path, ": found format \"", format, "\", wanted \"", kFormat, "\""));
    if (const std::int64_t version = file.int_attribute("version"); version != kVersion)
        throw DataError(text(path, ": found version ", version, " of ", kFormat, ", wanted ", kVersion));
    return file.string_attribute("kind");
}

}  // namespace

std::string_view name_of(DataKind kind) {
    return kind == DataKind::kPairs ? "pairs" : "stream";
}

Hdf5File open_shard_file(const std::string& path, DataKind kind) {
    Hdf5File file = Hdf5File::open_readonly(path);
    if (const std::string found = kind_name(file); found != name_of(kind))
        throw DataError(
            text(path, ": found a shard of kind \"", found, "\", wanted \"", name_of(kind), "\""));
    return file;
}

DataKind kind_of_shard(const std::string& path) {
    const std::string found = kind_name(Hdf5File::open_readonly(path));
    for (const DataKind kind : {DataKind::kStream, DataKind::kPairs})
        if (found == name_of(kind)) return kind;
    throw DataError(text(path, ": found a shard of kind \"", found, "\", wanted \"stream\" or \"pairs\""));
}

ShardHeader read_shard_header(const Hdf5File& file, const std::string& prefix) {
    const ShardHeader header{file.int_attribute(prefix + "vocab_size"),
                             file.string_attribute(prefix + "tokenizer"),
                             file.string_attribute(prefix + "tokenizer_sha256")};
    if (header.vocab_size < 1 || header.vocab_size > kMostVocabulary)
        throw DataError(text(file.path(), ": found ", prefix, "vocab_size ", header.vocab_size,
                             ", wanted 1 to ", kMostVocabulary));
    return header;
}

void write_shard_header(Hdf5File& file, const ShardHeader& header, const std::string& prefix) {
    file.set_attribute(prefix + "vocab_size", header.vocab_size);
    file.set_attribute(prefix + "tokenizer", header.tokenizer);
    file.set_attribute(prefix + "tokenizer_sha256", header.tokenizer_sha256);
}

void require_header(const std::string& path, const ShardHeader& found, const ShardHeader& wanted) {
    if (found.vocab_size != wanted.vocab_size)
        throw DataError(text(path, ": found vocab_size ", found.vocab_size, ", wanted ", wanted.vocab_size,
                             " as the folder has it"));
    if (found != wanted)
        throw DataError(text(path, ": found tokenizer ", found.tokenizer, " (sha256 ", found.tokenizer_sha256,
                             "), wanted ", wanted.tokenizer, " (", wanted.tokenizer_sha256,
                             ") as the folder has it"));
}

void require_entry(const std::string& path, const ShardEntry& found, const ShardEntry& wanted) {
    if (found.tokens != wanted.tokens || found.documents != wanted.documents ||
        found.source_tokens != wanted.source_tokens)
        throw DataError(text(path, ": found ", found.source_tokens + found.tokens, " tokens in ",
                             found.documents, " documents, wanted ", wanted.source_tokens + wanted.tokens,
                             " in ", wanted.documents));
}

std::pair<std::size_t, std::uint64_t> locate(const std::vector<std::uint64_t>& ends, std::uint64_t index) {
    const auto at = std::upper_bound(ends.begin(), ends.end(), index);  // the first that ends after `index`
    const auto file = static_cast<std::size_t>(at - ends.begin());
    return {file, index - (file == 0 ? 0 : ends[file - 1])};
}

ShardFiles::ShardFiles(std::string folder, std::string prefix, DataKind kind, FileSystem& system)
    : folder_(std::move(folder)), prefix_(std::move(prefix)), kind_(kind), system_(system) {}

ShardFiles::~ShardFiles() {
    if (!file_) return;
    file_.reset();
    system_.unlink(temporary_.c_str());
}

Hdf5File& ShardFiles::start() {
    char number[16];
    std::snprintf(number, sizeof number, "-%05zu.h5", done_.size());
    name_ = prefix_ + number;
    temporary_ = folder_ + "/" + name_ + ".tmp";
    file_ = Hdf5File::create(temporary_, system_);
    file_->set_attribute("format", kFormat);
    file_->set_attribute("version", kVersion);
    file_->set_attribute("kind", name_of(kind_));
    return *file_;
}

void ShardFiles::finish(ShardEntry entry) {
    file_->close();
    rename_durable(system_, temporary_, folder_ + "/" + name_);
    file_.reset();
    entry.name = name_;
    done_.push_back(std::move(entry));
}

}  // namespace skein
