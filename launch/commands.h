#pragma once

#include <vector>

#include "launch/command.h"

namespace skein {

Command prepare_command();
Command train_command();
Command evaluate_command();
Command translate_command();
Command generate_command();
Command inspect_command();
Command bench_command();
Command replay_command();

/// All subcommands, in the order of skein --help.
std::vector<Command> all_commands();

}  // namespace skein
