#pragma once

#include <string>
#include <vector>

#include "launch/command.h"

namespace skein {

class Ranks;

Command prepare_command();
Command train_command();
Command evaluate_command();
Command generate_command();
Command inspect_command();
Command bench_command();

/// All subcommands, in the order of skein --help.
std::vector<Command> all_commands();

/// The command line that goes on with a run of these arguments, quoted for a shell.
std::string resume_command(const Arguments& arguments, Ranks& ranks);

}  // namespace skein
