#include "launch/command_line.h"

#include <algorithm>
#include <boost/program_options.hpp>

#include "model/base/error.h"
#include "model/base/files.h"
#include "trainer/option_values.h"
#include "trainer/options.h"
#include "trainer/presets.h"

namespace skein {

namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 118;
constexpr unsigned kLeastDescription = 70;
constexpr const char* kPositional = "(positional)";

std::string section_of(const std::string& name) {
    const std::size_t dot = name.find('.');
    return dot == std::string::npos ? name : name.substr(0, dot);
}

bool takes(const Command& command, const std::string& name) {
    return std::any_of(command.run_options.begin(), command.run_options.end(), [&](const std::string& entry) {
        return entry == "all" || entry == name || entry == section_of(name);
    });
}

std::vector<CommandOption> own_options(const Command& command) {
    std::vector<CommandOption> options = command.options;
    if (command.takes_config) {
        options.push_back({"config", "FILE", "options from a file: [section], then name = value"});
        std::string names;
        for (const Preset& preset : presets()) names += (names.empty() ? "" : ", ") + preset.name;
        options.push_back({"preset", "NAME", "published settings: " + names});
    }
    options.push_back({"help", "", "this list", CommandOption::Kind::kFlag});
    return options;
}

/// The command's own options, and then a group for each section.
std::vector<po::options_description> described(const Command& command) {
    std::vector<po::options_description> groups;
    groups.emplace_back("Options", kHelpWidth, kLeastDescription);
    for (const CommandOption& option : own_options(command)) {
        std::string help = option.help;
        if (!option.choices.empty()) help += " (" + either(option.choices) + ")";
        if (option.required) help += " (required)";
        if (option.kind == CommandOption::Kind::kFlag) {
            groups.back().add_options()(option.name.c_str(), help.c_str());
        } else if (option.kind == CommandOption::Kind::kList) {
            auto* value =
                po::value<std::vector<std::string>>()->multitoken()->value_name(option.value + "...");
            groups.back().add_options()(option.name.c_str(), value, help.c_str());
        } else {
            auto* value = po::value<std::string>()->value_name(option.value);
            if (!option.initial.empty()) value->default_value(option.initial);
            groups.back().add_options()(option.name.c_str(), value, help.c_str());
        }
    }
    std::string section;
    for (const OptionInfo& option : run_options()) {
        if (!takes(command, option.name)) continue;
        if (option.name.find('.') != std::string::npos && section_of(option.name) != section) {
            section = section_of(option.name);
            groups.emplace_back("[" + section + "]", kHelpWidth, kLeastDescription);
        }
        groups.back().add_options()(
            option.name.c_str(), po::value<std::string>()->default_value(option.initial)->value_name("VALUE"),
            text(option.help, " (", option.allowed, ")").c_str());
    }
    return groups;
}

std::vector<std::string> all_names(const Command& command) {
    std::vector<std::string> names;
    for (const CommandOption& option : own_options(command)) names.push_back(option.name);
    for (const OptionInfo& option : run_options()) {
        if (takes(command, option.name)) names.push_back(option.name);
    }
    return names;
}

/// What Boost made of the words: (name, values) in the order of the command line; positional ones under
/// kPositional.
std::vector<po::option> split(const Command& command, const std::vector<std::string>& words) {
    namespace style = po::command_line_style;
    po::options_description all;
    for (const po::options_description& group : described(command)) all.add(group);
    po::positional_options_description positional;
    positional.add(kPositional, -1);
    all.add_options()(kPositional, po::value<std::vector<std::string>>());
    try {
        return po::command_line_parser(words)
            .options(all)
            .positional(positional)
            .style(style::allow_long | style::long_allow_next | style::long_allow_adjacent)
            .run()
            .options;
    } catch (const po::unknown_option& error) {
        std::string name = error.get_option_name();
        name.erase(0, name.find_first_not_of('-'));
        throw ConfigError(unknown_option_message(name.substr(0, name.find('=')), all_names(command)));
    } catch (const po::error& error) {
        throw ConfigError(error.what());
    }
}

/// One of the command's own options with its values. Throws ConfigError where they contradict or are not
/// allowed.
void take_own(const CommandOption& option, const std::vector<std::string>& values, Arguments& arguments) {
    for (const std::string& value : values) {
        if (!option.choices.empty() &&
            std::find(option.choices.begin(), option.choices.end(), value) == option.choices.end()) {
            throw ConfigError(
                text("option --", option.name, ": found '", value, "', allowed is ", either(option.choices)));
        }
    }
    std::vector<std::string>& all = arguments.options[option.name];
    if (option.kind == CommandOption::Kind::kValue && !all.empty() && all != values) {
        throw ConfigError(text("option --", option.name, ": found '", all.back(), "' and '", values.back(),
                               "', wanted one value"));
    }
    if (option.kind == CommandOption::Kind::kValue) all.clear();
    all.insert(all.end(), values.begin(), values.end());
}

void take_settings(const Settings& settings, Arguments& arguments) {
    for (const auto& [name, value] : settings) {
        set_option(arguments.config, name, value);
        arguments.given.insert(name);
    }
}

void take_config_file(const std::string& path, Arguments& arguments) {
    const Settings settings = parse_ini(read_file(path), path);
    try {
        take_settings(settings, arguments);
    } catch (const ConfigError& error) {
        throw ConfigError(text(path, ": ", error.what()));
    }
}

}  // namespace

std::optional<Arguments> parse_command_line(const Command& command, const std::vector<std::string>& words) {
    Arguments arguments;
    arguments.words = words;
    const std::vector<CommandOption> own = own_options(command);
    Settings settings;
    for (const po::option& found : split(command, words)) {
        if (found.string_key == kPositional) {
            arguments.positional.insert(arguments.positional.end(), found.value.begin(), found.value.end());
            continue;
        }
        const auto option = std::find_if(own.begin(), own.end(), [&](const CommandOption& candidate) {
            return candidate.name == found.string_key;
        });
        if (option != own.end()) {
            take_own(*option, found.value, arguments);
            continue;
        }
        const auto before = std::find_if(settings.begin(), settings.end(), [&](const auto& setting) {
            return setting.first == found.string_key;
        });
        if (before != settings.end() && before->second != found.value.back()) {
            throw ConfigError(text("option --", found.string_key, ": found '", before->second, "' and '",
                                   found.value.back(), "', wanted one value"));
        }
        settings.emplace_back(found.string_key, found.value.back());
    }
    if (arguments.has("help")) return std::nullopt;
    if (arguments.positional.size() > command.most_positional) {
        throw ConfigError(text("unexpected argument '", arguments.positional[command.most_positional],
                               "': see skein ", command.name, " --help"));
    }
    if (arguments.has("preset")) take_settings(preset_named(arguments.value("preset")).settings, arguments);
    if (arguments.has("config")) take_config_file(arguments.value("config"), arguments);
    take_settings(settings, arguments);
    for (const CommandOption& option : own) {
        if (option.required && !arguments.has(option.name)) {
            throw ConfigError(
                text("option --", option.name, " is missing, wanted --", option.name, " ", option.value));
        }
        if (!option.initial.empty() && !arguments.has(option.name)) {
            arguments.options[option.name] = {option.initial};
        }
    }
    return arguments;
}

std::string command_help(const Command& command) {
    std::string help = text("skein ", command.name, " ", command.usage, "\n", command.summary, "\n");
    for (const po::options_description& group : described(command)) help += text("\n", group);
    return help;
}

std::string program_help(const std::vector<Command>& commands) {
    std::size_t longest = 0;
    for (const Command& command : commands) longest = std::max(longest, command.name.size());
    std::string help =
        "skein trains Transformers on many ranks, with the same bits on any number of them.\n\n"
        "skein COMMAND [--OPTION VALUE ...]      mpirun -np N skein COMMAND ... for many ranks\n\n";
    for (const Command& command : commands) {
        help += text("  ", command.name, std::string(longest + 3 - command.name.size(), ' '), command.summary,
                     "\n");
    }
    help +=
        "\nskein COMMAND --help   its options with their defaults\n"
        "skein --version        the versions of skein and its libraries\n\n"
        "Exit codes: 0 done; 64 usage; 65 bad data or checkpoint; 66 input missing; 70 internal; 71 a rank "
        "failed;\n"
        "74 input or output; 75 stopped on request with a checkpoint: start me again.\n";
    return help;
}

}  // namespace skein
