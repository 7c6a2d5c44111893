#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skein {

/// The place of the first byte that is not UTF-8 (RFC 3629: no overlong forms, no surrogates, at most
/// U+10FFFF), or none. A character cut off by the end of the text counts as wrong.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// The length of the longest prefix of `text` that does not end inside a character. Text after it, at most
/// three bytes, is the start of a character.
std::size_t whole_characters(std::string_view text);

/// Takes the first character off valid, non-empty UTF-8.
std::uint32_t take_code_point(std::string_view& text);

void append_utf8(std::string& text, std::uint32_t code_point);

/// Characters (code points) of valid UTF-8.
std::uint64_t count_characters(std::string_view text);

/// The byte at which character number `characters` of valid UTF-8 starts; text.size() when there are not so
/// many.
std::size_t byte_of_character(std::string_view text, std::uint64_t characters);

/// Whether there is nothing in it but ASCII white space.
bool is_blank(std::string_view text);

}  // namespace skein
