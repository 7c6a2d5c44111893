#include "launch/commands.h"

namespace skein {

std::vector<Command> all_commands() {
    return {
        prepare_command(),  train_command(),   evaluate_command(), translate_command(),
        generate_command(), inspect_command(), bench_command(),    replay_command(),
    };
}

}  // namespace skein
