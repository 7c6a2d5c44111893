#include "launch/commands.h"

namespace skein {

std::vector<Command> all_commands() {
    return {
        prepare_command(),
        inspect_command(),
    };
}

}  // namespace skein
