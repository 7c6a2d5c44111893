#include "data/incremental_decoder.h"

#include <algorithm>

namespace skein {
namespace {

constexpr std::size_t kMostRecent = 64, kKept = 32;

// The length of `text` without a UTF-8 character at its end that has only begun.
std::size_t whole_length(const std::string& text) {
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xC0u) == 0x80u) continue;  // inside a character
        const std::size_t length = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
        return length > back ? text.size() - back : text.size();
    }
    return text.size();
}

}  // namespace

IncrementalDecoder::IncrementalDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> before)
    : tokenizer_(tokenizer), recent_(before.last(std::min(before.size(), kKept)).begin(), before.end()) {
    given_ = tokenizer_.decode(recent_).size();
}

std::string IncrementalDecoder::add(std::int32_t id) {
    if (recent_.size() >= kMostRecent) {
        // A tokenizer may write the first piece otherwise than the same piece further on, so lengths are
        // taken anew.
        const std::size_t withheld = tokenizer_.decode(recent_).size() - given_;
        const std::size_t dropped = recent_.size() - kKept;
        recent_.erase(recent_.begin(), recent_.begin() + static_cast<std::ptrdiff_t>(dropped));
        given_ = tokenizer_.decode(recent_).size() - withheld;
    }
    recent_.push_back(id);
    const std::string text = tokenizer_.decode(recent_);
    const std::size_t whole = whole_length(text);
    if (whole <= given_) return {};
    std::string gained(text, given_, whole - given_);
    given_ = whole;
    return gained;
}

}  // namespace skein
