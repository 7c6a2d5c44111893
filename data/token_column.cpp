#include "data/token_column.h"

#include <algorithm>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::int64_t kMostUint16 = 65'536;
/// Elements: small, because training reads short windows at random places and each reads its whole chunk.
constexpr std::uint64_t kChunk = 16'384, kOffsetsChunk = 2048;
constexpr std::size_t kWriteTokens = 64 * kChunk;
constexpr std::size_t kReadTokens = std::size_t{1} << 18;

template <class Stored>
void read_as(const Hdf5File& file, const std::string& name, std::uint64_t begin, std::span<std::int32_t> out,
             std::int64_t vocab_size) {
    std::vector<Stored> stored(std::min(out.size(), kReadTokens));
    for (std::size_t at = 0; at < out.size(); at += kReadTokens) {
        const std::span<Stored> part(stored.data(), std::min(kReadTokens, out.size() - at));
        file.read<Stored>(name, begin + at, part);
        for (std::size_t i = 0; i < part.size(); ++i) {
            if (part[i] >= vocab_size)
                throw DataError(text(file.path(), ", ", name, ": token ", begin + at + i, " is ", part[i],
                                     ", wanted an id of the vocabulary, [0, ", vocab_size, ")"));
            out[at + i] = static_cast<std::int32_t>(part[i]);
        }
    }
}

template <class Stored>
void append_as(Hdf5File& file, const std::string& name, std::span<const std::int32_t> ids) {
    const std::vector<Stored> stored(ids.begin(), ids.end());
    file.append<Stored>(name, stored);
}

}  // namespace

TokenColumn::TokenColumn(const Hdf5File& file, const std::string& group, std::int64_t vocab_size)
    : file_(&file),
      tokens_name_(group + "/tokens"),
      offsets_name_(group + "/offsets"),
      vocab_size_(vocab_size) {
    const std::string& path = file.path();
    for (const std::string& name : {tokens_name_, offsets_name_})
        if (!file.has_dataset(name)) throw DataError(text(path, ": has no dataset ", name));
    const Hdf5Type type = file.type(tokens_name_);
    if (type != Hdf5Type::kU16 && type != Hdf5Type::kU32)
        throw DataError(
            text(path, ", ", tokens_name_, ": found ", name_of(type), ", wanted uint16 or uint32"));
    is_wide_ = type == Hdf5Type::kU32;
    if (const Hdf5Type offsets = file.type(offsets_name_); offsets != Hdf5Type::kU64)
        throw DataError(text(path, ", ", offsets_name_, ": found ", name_of(offsets), ", wanted uint64"));
    if (file.shape(tokens_name_).size() != 1 || file.shape(offsets_name_).size() != 1)
        throw DataError(text(path, ": ", tokens_name_, " and ", offsets_name_, " must have one axis"));
    tokens_ = file.elements(tokens_name_);
    const std::uint64_t offsets = file.elements(offsets_name_);
    if (offsets < 1)
        throw DataError(text(path, ", ", offsets_name_, ": is empty, wanted documents + 1 entries"));
    sequences_ = offsets - 1;
    std::uint64_t first = 0, last = 0;
    read_offsets(0, {&first, 1});
    read_offsets(sequences_, {&last, 1});
    if (first != 0 || last != tokens_)
        throw DataError(text(path, ", ", offsets_name_, ": go from ", first, " to ", last, ", wanted 0 to ",
                             tokens_, ", the number of tokens"));
}

void TokenColumn::read(std::uint64_t begin, std::span<std::int32_t> out) const {
    if (is_wide_) {
        read_as<std::uint32_t>(*file_, tokens_name_, begin, out, vocab_size_);
    } else {
        read_as<std::uint16_t>(*file_, tokens_name_, begin, out, vocab_size_);
    }
}

void TokenColumn::read_offsets(std::uint64_t begin, std::span<std::uint64_t> out) const {
    file_->read<std::uint64_t>(offsets_name_, begin, out);
}

void TokenColumn::each_offsets(const std::function<void(std::span<const std::uint64_t>)>& take) const {
    std::vector<std::uint64_t> offsets(std::min<std::uint64_t>(kReadTokens, sequences_ + 1));
    std::uint64_t before = 0;
    for (std::uint64_t at = 0; at <= sequences_; at += kReadTokens) {
        const auto part = std::span(offsets).first(std::min<std::uint64_t>(kReadTokens, sequences_ + 1 - at));
        read_offsets(at, part);
        for (std::size_t i = 0; i < part.size(); before = part[i++])
            if (part[i] < before)
                throw DataError(text(file_->path(), ", ", offsets_name_, ": entry ", at + i, " is ", part[i],
                                     ", less than the one before, ", before));
        take(part);
    }
}

void TokenColumn::check_all() const {
    std::vector<std::int32_t> ids(kReadTokens);
    for (std::uint64_t at = 0; at < tokens_; at += kReadTokens)
        read(at, std::span(ids).first(std::min<std::uint64_t>(kReadTokens, tokens_ - at)));
    each_offsets([](std::span<const std::uint64_t>) {});
}

void require_ids(std::span<const std::int32_t> ids, std::int64_t vocab_size) {
    for (const std::int32_t id : ids)
        if (id < 0 || id >= vocab_size)
            throw DataError(text("shards: found id ", id, ", wanted one in [0, ", vocab_size, ")"));
}

TokenColumnWriter::TokenColumnWriter(Hdf5File& file, const std::string& group, std::int64_t vocab_size)
    : file_(&file),
      tokens_name_(group + "/tokens"),
      offsets_name_(group + "/offsets"),
      is_wide_(vocab_size > kMostUint16) {
    file.create_dataset(tokens_name_, is_wide_ ? Hdf5Type::kU32 : Hdf5Type::kU16, {0},
                        {.fletcher32 = true, .extendible = true, .chunk = {kChunk}});
    file.create_dataset(offsets_name_, Hdf5Type::kU64, {0},
                        {.fletcher32 = true, .extendible = true, .chunk = {kOffsetsChunk}});
}

/// In whole chunks until the end, so that no chunk is written twice.
void TokenColumnWriter::flush_tokens(bool all) {
    const std::size_t count = all ? waiting_.size() : waiting_.size() / kWriteTokens * kWriteTokens;
    const std::span<const std::int32_t> part(waiting_.data(), count);
    if (is_wide_) {
        append_as<std::uint32_t>(*file_, tokens_name_, part);
    } else {
        append_as<std::uint16_t>(*file_, tokens_name_, part);
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
}

void TokenColumnWriter::flush_offsets() {
    file_->append<std::uint64_t>(offsets_name_, offsets_);
    offsets_.clear();
}

void TokenColumnWriter::append(std::span<const std::int32_t> ids) {
    while (!ids.empty()) {
        const std::size_t count = std::min(ids.size(), kWriteTokens);
        waiting_.insert(waiting_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
        tokens_ += count;
        ids = ids.subspan(count);
        if (waiting_.size() >= kWriteTokens) flush_tokens(false);
    }
}

void TokenColumnWriter::end_sequence() {
    offsets_.push_back(tokens_);
    sequence_start_ = tokens_;
    ++sequences_;
    if (offsets_.size() >= kWriteTokens / 8) flush_offsets();
}

void TokenColumnWriter::finish() {
    if (tokens_ > sequence_start_) end_sequence();
    flush_tokens(true);
    flush_offsets();
}

}  // namespace skein
