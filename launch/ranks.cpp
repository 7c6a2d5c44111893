#include "launch/ranks.h"

#include <chrono>
#include <exception>
#include <iostream>
#include <optional>
#include <thread>

#include "launch/command_line.h"
#include "launch/failure.h"
#include "model/base/error.h"
#include "parallel/rank_reports.h"
#include "trainer/stop_signal.h"

namespace skein {
namespace {

/// Of what several ranks find at once one speaks, and ends the others while they wait here. Where it does not
/// come to that, this rank speaks as well.
void leave_to_speaker(const std::exception_ptr& exception, const MpiSession& session) {
    constexpr std::chrono::seconds kMost{10};
    try {
        std::rethrow_exception(exception);
    } catch (const PeerError& error) {
        if (error.speaker() != session.rank()) std::this_thread::sleep_for(kMost);
    } catch (...) {
    }
}

}  // namespace

void Ranks::together(const std::function<void()>& part) {
    std::optional<Failure> mine;
    try {
        part();
    } catch (const MpiError&) {  // the others cannot be agreed with
        throw;
    } catch (...) {
        mine = failure_of(std::current_exception());
    }
    if (const std::optional<Failure> failure = agree_on_failure(world_, mine)) throw AgreedFailure(*failure);
}

int run_on_ranks(const Command& command, const std::vector<std::string>& words) {
    std::optional<StopSignal> stop;
    if (command.stops_on_signal) stop.emplace();
    Ranks ranks;
    try {
        std::optional<Arguments> arguments;
        ranks.together([&] { arguments = parse_command_line(command, words); });
        if (!arguments) {
            if (ranks.is_first()) std::cout << command_help(command);
            return kExitDone;
        }
        ranks.session().patience().seconds = arguments->config.parallel.timeout;
        return command.run_on_ranks(*arguments, ranks);
    } catch (const AgreedFailure& agreed) {
        if (ranks.is_first()) std::cerr << "skein " << command.name << ": " << agreed.what() << std::endl;
        return agreed.failure().code;
    } catch (...) {
        const Failure failure = failure_of(std::current_exception());
        leave_to_speaker(std::current_exception(), ranks.session());
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
