#include "trainer/replay.h"

#include <iostream>
#include <limits>

#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/progress.h"
#include "launch/rank_place.h"
#include "launch/ranks.h"
#include "model/base/error.h"

namespace skein {
namespace {

ReplayRequest request_from(const Arguments& arguments) {
    ReplayRequest request;
    request.run = arguments.value("run");
    request.from = arguments.value("from");
    if (arguments.has("steps"))
        request.steps = arguments.integer("steps", 1, std::numeric_limits<std::int64_t>::max());
    request.train.config = arguments.config;
    request.train.given = arguments.given;
    request.train.data = arguments.value("data");
    return request;
}

int run_replay(const Arguments& arguments, Ranks& ranks) {
    const StopSignal stop;
    Progress progress(stderr);
    TrainObserver observer;
    if (ranks.is_first())
        observer.step = [&](const TrainProgress& at) {
            progress.show(text("step ", at.step, "/", at.steps, " is the run's"));
        };
    observer.line = [&](const std::string& line) { progress.say(line); };

    std::optional<ProcessGrid> grid;
    ReplayRequest request;
    ranks.together([&] { request = request_from(arguments); });
    run_on(ranks, grid, request.train);
    const ReplayResult result = replay(
        std::move(request), ranks.world(), [&](const auto& part) { ranks.together(part); }, observer, stop);
    if (ranks.is_first())
        std::cout << result.steps << " steps replayed, " << result.compared << " compared, " << result.hashes
                  << " hashes equal" << std::endl;
    return result.end == TrainEnd::kStopped ? kExitStopped : kExitDone;
}

}  // namespace

Command replay_command() {
    Command command;
    command.name = "replay";
    command.summary = "train steps of a run again, and compare them with what it logged";
    command.usage = "--run DIR --data DIR [--from STEP|DIR] [--steps K] [--parallel.NAME VALUE ...]";
    command.options = {
        {.name = "run", .value = "DIR", .help = "the run's folder, which is only read", .required = true},
        {.name = "data", .value = "DIR", .help = "the data folder that it was trained on", .required = true},
        {.name = "from",
         .value = "STEP|DIR",
         .help = "its checkpoint at or before this step, or this one; else the newest with as many logged "
                 "steps behind it"},
        {.name = "steps",
         .value = "K",
         .help = "how many; else 100, or as many as it logged if that is less"},
    };
    command.run_options = {"parallel", "device", "train.recompute"};
    command.run_on_ranks = run_replay;
    return command;
}

}  // namespace skein
