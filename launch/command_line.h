#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/command.h"

namespace skein {

/// Reads the words behind the command's name: defaults, then --preset, then --config, then the command line.
/// Nothing means that help was asked for. Names are never guessed from abbreviations. Throws ConfigError (an
/// unknown option names the nearest), MissingError for a configuration file that is not there.
std::optional<Arguments> parse_command_line(const Command& command, const std::vector<std::string>& words);

/// What `skein COMMAND --help` prints: its options in groups, with defaults.
std::string command_help(const Command& command);

/// What `skein --help` prints.
std::string program_help(const std::vector<Command>& commands);

}  // namespace skein
