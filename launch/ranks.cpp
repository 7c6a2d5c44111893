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

/// "rank 3 on b (step 12): MESSAGE"
std::string told_by(int rank, const Ranks& ranks, const std::string& message) {
    return text(ranks.name_of(rank), " (", ranks.session().patience().phase(), "): ", message);
}

bool is_peer_error(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const PeerError&) {  // says itself where it was met
        return true;
    } catch (...) {
        return false;
    }
}

}  // namespace

std::string Ranks::name_of(int rank) const {
    return text("rank ", rank, " on ", session_.host_of(rank));
}

void Ranks::together(const std::function<void()>& part) {
    std::optional<Failure> mine;
    try {
        part();
    } catch (const MpiError&) {  // the others cannot be agreed with
        throw;
    } catch (...) {
        mine = failure_of(std::current_exception());
    }
    std::optional<Failure> failure = agree_on_failure(world_, mine);
    if (!failure) return;
    if (!failure->everywhere && failure->code != kExitUsage)
        failure->message = told_by(failure->rank, *this, failure->message);
    throw AgreedFailure(*failure);
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
        const int rank = ranks.session().rank();
        std::string line = failure.message;
        if (ranks.session().size() > 1)
            line = is_peer_error(std::current_exception()) ? text(ranks.name_of(rank), ": ", line)
                                                           : told_by(rank, ranks, line);
        std::cerr << "skein " << command.name << ": " << line << std::endl;
        if (ranks.session().size() == 1) return failure.code;
        ranks.session().abort(failure.code);
    }
}

}  // namespace skein
