#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skein {

/// In seconds, what is a plain number ("3600"), numbers with units from days down to seconds ("2d", "4h",
/// "1h30m", "90s"), or as SLURM writes it: "[D-]HH:MM:SS", "MM:SS", "D-HH", "D-HH:MM". Nothing for anything
/// else, and for more than a hundred years.
std::optional<std::int64_t> parse_duration(std::string_view value);

/// The shortest that parse_duration() reads back with one unit: "4h", "90m", "3601s", "0".
std::string duration_text(std::int64_t seconds);

}  // namespace skein
