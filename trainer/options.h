#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config.h"
#include "trainer/settings.h"

namespace skein {

/// What happens when a resumed run asks for another value than the one that its checkpoint was made with.
enum class OnResume {
    kFree,    ///< taken over silently: it does not touch what the run computes, or only how long
    kNotice,  ///< taken over, said on the terminal and in runs.jsonl
    kRefused  ///< an error: the checkpoint would mean something else
};

/// One line of the table of options.
struct OptionInfo {
    std::string name;     ///< dotted: "train.steps"
    std::string help;     ///< one line
    std::string allowed;  ///< "an integer from 1 to 1000", "adam or adamw"
    std::string initial;  ///< canonical text of the default
    OnResume on_resume;
};

/// All options of a run, sections together, in the order in which help and config.ini show them.
const std::vector<OptionInfo>& run_options();

/// The option of that name or nothing.
const OptionInfo* find_option(std::string_view name);

/// Throws ConfigError, naming the option, what was found and what is allowed, for an unknown name (with the
/// nearest known one) and for a value that is not allowed. `config` is then as it was.
void set_option(RunConfig& config, std::string_view name, std::string_view value);

/// The canonical text of an option's value: set_option() reads back the same value, exactly. Throws
/// ConfigError for an unknown name.
std::string get_option(const RunConfig& config, std::string_view name);

/// The option that a mistyped name most likely means.
std::optional<std::string> nearest_option(std::string_view name);

/// "unknown option --train.step: did you mean --train.steps?"; `candidates` are dotted names.
std::string unknown_option_message(std::string_view name, const std::vector<std::string>& candidates);

/// Every option with its value, in the table's order.
Settings to_settings(const RunConfig& config);
/// The defaults with `settings` on top. Throws ConfigError as set_option() does.
RunConfig from_settings(const Settings& settings);

}  // namespace skein
