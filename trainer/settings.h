#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skein {

/// Options with their values as text: dotted names, in order.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// `settings` as a configuration file: [section], name = value. Options without a section come first,
/// sections in the order in which they first occur.
std::string write_ini(const Settings& settings);

/// The settings of a configuration file, in its order; whether names and values mean anything is not looked
/// at. A line that starts with # or ; is a comment. `origin` names the file in errors. Throws ConfigError
/// with the line's number for a line that is neither [section] nor name = value, and for a name that comes
/// twice.
Settings parse_ini(std::string_view ini, const std::string& origin);

}  // namespace skein
