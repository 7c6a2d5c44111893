#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "trainer/config.h"

namespace skein {

/// An option of one command, beside those of a run (trainer/options.h).
struct CommandOption {
    enum class Kind {
        kValue,  ///< --name VALUE
        kList,   ///< --name VALUE VALUE ...
        kFlag    ///< --name
    };
    std::string name;   ///< without the dashes
    std::string value;  ///< how help shows the value: "DIR"; empty for a flag
    std::string help;   ///< one line
    Kind kind = Kind::kValue;
    std::string initial = {};  ///< what value() gives when it is not given; shown in help when not empty
    bool required = false;     ///< a command line without it is an error
    std::vector<std::string> choices = {};  ///< when not empty, other values are an error
};

/// What a command line came to: defaults, then preset, then configuration file, then command line.
struct Arguments {
    RunConfig config;             ///< each value is allowed; contradictions are not looked for yet
    std::set<std::string> given;  ///< dotted names that a preset, the file or the command line set
    std::map<std::string, std::vector<std::string>> options;  ///< the command's own, as given or by default
    std::vector<std::string> positional;
    std::vector<std::string> words;  ///< everything behind the command's name, as it was typed

    /// Whether a value, a default or a flag is there.
    bool has(const std::string& name) const;
    /// The value, or its default, or nothing. For a list its values follow each other in list().
    std::string value(const std::string& name) const;
    std::vector<std::string> list(const std::string& name) const;
    /// The value as a number. Throws ConfigError when it is none or outside [least, most].
    std::int64_t integer(const std::string& name, std::int64_t least, std::int64_t most) const;
    double number(const std::string& name, double least, double most) const;
};

class Ranks;

/// A subcommand: one file command_NAME.cpp, one line in commands.cpp.
struct Command {
    std::string name;
    std::string summary;  ///< one line for skein --help
    std::string usage;    ///< behind "skein NAME"
    std::vector<CommandOption> options;
    /// Which options of a run it takes: section names ("train"), whole names ("device"), or "all".
    std::vector<std::string> run_options = {};
    /// Takes --config FILE and --preset NAME.
    bool takes_config = false;
    /// How many words without an option it takes.
    std::size_t most_positional = 0;
    /// A signal that asks for a stop is kept from its very start on, before MPI's, and run_on_ranks heeds it.
    bool stops_on_signal = false;
    /// Runs it and gives the exit code. Exactly one of the two is set; a command of many ranks gets them.
    std::function<int(const Arguments&)> run = {};
    std::function<int(const Arguments&, Ranks&)> run_on_ranks = {};
};

}  // namespace skein
