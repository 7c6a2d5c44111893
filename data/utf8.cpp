#include "data/utf8.h"

namespace skein {
namespace {

constexpr bool is_continuation(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// Bytes of a character by its first byte; 0 when none starts so.
constexpr std::size_t length_by_lead(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    if (lead >= 0xF0 && lead <= 0xF4) return 4;
    return 0;
}

/// Bytes of the first character of `text`; 0 when it is wrong or cut off.
std::size_t valid_length(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const std::size_t length = length_by_lead(lead);
    if (length < 2 || text.size() < length) return text.size() < length ? 0 : length;
    const auto second = static_cast<unsigned char>(text[1]);
    for (std::size_t i = 1; i < length; ++i)
        if (!is_continuation(text[i])) return 0;
    if (lead == 0xE0 && second < 0xA0) return 0;  // overlong
    if (lead == 0xED && second > 0x9F) return 0;  // surrogates
    if (lead == 0xF0 && second < 0x90) return 0;  // overlong
    if (lead == 0xF4 && second > 0x8F) return 0;  // above U+10FFFF
    return length;
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const std::size_t length = valid_length(text.substr(at));
        if (length == 0) return at;
        at += length;
    }
    return std::nullopt;
}

std::size_t whole_characters(std::string_view text) {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const char byte = text[text.size() - back];
        if (is_continuation(byte)) continue;
        return length_by_lead(static_cast<unsigned char>(byte)) > back ? text.size() - back : text.size();
    }
    return text.size();
}

std::uint32_t take_code_point(std::string_view& text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const std::size_t length = length_by_lead(lead);
    std::uint32_t code_point = length < 2 ? lead : lead & (0xFFu >> (length + 1));
    for (std::size_t i = 1; i < length; ++i)
        code_point = code_point << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
    text.remove_prefix(length == 0 ? 1 : length);
    return code_point;
}

void append_utf8(std::string& text, std::uint32_t c) {
    const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | c >> 6);
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | c >> 12);
        put(0x80 | (c >> 6 & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | c >> 18);
        put(0x80 | (c >> 12 & 0x3F));
        put(0x80 | (c >> 6 & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

std::uint64_t count_characters(std::string_view text) {
    std::uint64_t count = 0;
    for (const char byte : text) count += is_continuation(byte) ? 0 : 1;
    return count;
}

std::size_t byte_of_character(std::string_view text, std::uint64_t characters) {
    for (std::size_t at = 0; at < text.size(); ++at)
        if (!is_continuation(text[at]) && characters-- == 0) return at;
    return text.size();
}

bool is_blank(std::string_view text) {
    return text.find_first_not_of(" \t\r\v\f\n") == std::string_view::npos;
}

}  // namespace skein
