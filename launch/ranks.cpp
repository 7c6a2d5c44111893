#include "launch/ranks.h"

#include <iostream>
#include <optional>

#include "launch/command_line.h"
#include "launch/failure.h"
#include "model/base/error.h"

namespace skein {

void Ranks::together(const std::function<void()>& part) {
    std::optional<Failure> mine;
    try {
        part();
    } catch (...) {
        mine = failure_of(std::current_exception());
    }
    if (const std::optional<Failure> failure = agree_on_failure(world_, mine)) throw AgreedFailure(*failure);
}

int run_on_ranks(const Command& command, const std::vector<std::string>& words) {
    Ranks ranks;
    try {
        std::optional<Arguments> arguments;
        ranks.together([&] { arguments = parse_command_line(command, words); });
        if (!arguments) {
            if (ranks.is_first()) std::cout << command_help(command);
            return kExitDone;
        }
        return command.run_on_ranks(*arguments, ranks);
    } catch (const AgreedFailure& agreed) {
        if (ranks.is_first()) std::cerr << "skein " << command.name << ": " << agreed.what() << std::endl;
        return agreed.failure().code;
    } catch (...) {
        const Failure failure = failure_of(std::current_exception());
        std::cerr << "skein " << command.name << ": ";
        if (ranks.session().size() == 1) {
            std::cerr << failure.message << std::endl;
            return failure.code;
        }
        std::cerr << "rank " << ranks.session().rank() << " on " << ranks.session().host() << ": "
                  << failure.message << std::endl;
        ranks.session().abort(failure.code);
    }
}

}  // namespace skein
