#include "launch/command.h"

#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {

bool Arguments::has(const std::string& name) const {
    return options.contains(name);
}

std::string Arguments::value(const std::string& name) const {
    const auto found = options.find(name);
    return found == options.end() || found->second.empty() ? std::string() : found->second.back();
}

std::vector<std::string> Arguments::list(const std::string& name) const {
    const auto found = options.find(name);
    return found == options.end() ? std::vector<std::string>() : found->second;
}

std::int64_t Arguments::integer(const std::string& name, std::int64_t least, std::int64_t most) const {
    const auto parsed = parse_integer(value(name));
    if (!parsed || *parsed < least || *parsed > most) {
        throw ConfigError(text("option --", name, ": found '", value(name), "', allowed is an integer from ",
                               least, " to ", most));
    }
    return *parsed;
}

double Arguments::number(const std::string& name, double least, double most) const {
    const auto parsed = parse_number(value(name));
    if (!parsed || *parsed < least || *parsed > most) {
        throw ConfigError(text("option --", name, ": found '", value(name), "', allowed is a number from ",
                               number_text(least), " to ", number_text(most)));
    }
    return *parsed;
}

}  // namespace skein
