#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skein {

/// Text to value and back, the whole text or nothing: no blanks, no trailing characters, no inf or nan.
std::optional<std::int64_t> parse_integer(std::string_view value);
std::optional<std::uint64_t> parse_unsigned(std::string_view value);
std::optional<double> parse_number(std::string_view value);
/// true|false, and as input also on|off, yes|no, 1|0.
std::optional<bool> parse_boolean(std::string_view value);

/// The shortest text that reads back as the same double.
std::string number_text(double value);

/// "a", "a or b", "a, b or c".
std::string either(const std::vector<std::string>& words);

/// The number of characters to insert, remove, replace or swap with their neighbour to turn one into the
/// other.
std::size_t edit_distance(std::string_view one, std::string_view other);

/// The candidate that a mistyped name most likely means: close as a whole, or in its part behind the last
/// dot. Nothing when none is close.
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace skein
