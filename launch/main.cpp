#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "launch/command_line.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/ranks.h"
#include "launch/version.h"
#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {
namespace {

int run_alone(const Command& command, const std::vector<std::string>& words) {
    try {
        const std::optional<Arguments> arguments = parse_command_line(command, words);
        if (arguments) return command.run(*arguments);
        std::cout << command_help(command);
        return kExitDone;
    } catch (...) {
        const Failure failure = failure_of(std::current_exception());
        std::cerr << "skein " << command.name << ": " << failure.message << std::endl;
        return failure.code;
    }
}

[[noreturn]] void throw_unknown_command(const std::string& name, const std::vector<Command>& commands) {
    std::vector<std::string> names;
    for (const Command& command : commands) names.push_back(command.name);
    const std::optional<std::string> nearest = nearest_name(name, names);
    throw ConfigError(
        text("unknown command '", name,
             "': ", nearest ? text("did you mean ", *nearest, "?") : text("allowed is ", either(names))));
}

int run_program(std::vector<std::string> words) {
    const std::vector<Command> commands = all_commands();
    if (words.empty()) {
        std::cerr << program_help(commands);
        return kExitUsage;
    }
    const std::string name = words.front();
    words.erase(words.begin());
    if (name == "--help" || name == "-h" || name == "help") {
        std::cout << program_help(commands);
        return kExitDone;
    }
    if (name == "--version") {
        std::cout << version_text();
        return kExitDone;
    }
    for (const Command& command : commands) {
        if (command.name == name)
            return command.run ? run_alone(command, words) : run_on_ranks(command, words);
    }
    throw_unknown_command(name, commands);
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) {
#if defined(__x86_64__) && defined(__AVX2__) && defined(__FMA__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        std::fputs(
            "skein: this build needs a processor with AVX2 and FMA; build with -DCPU_ARCH=x86-64 for this "
            "one\n",
            stderr);
        return skein::kExitInternal;
    }
#endif
    try {
        return skein::run_program(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (...) {
        const skein::Failure failure = skein::failure_of(std::current_exception());
        std::cerr << "skein: " << failure.message << std::endl;
        return failure.code;
    }
}
