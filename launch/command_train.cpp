#include <cstdio>
#include <iostream>

#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/progress.h"
#include "launch/ranks.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "parallel/process_grid.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

std::string duration(double seconds) {
    const auto whole = static_cast<long>(seconds + 0.5);
    char buffer[32];
    if (whole >= 3600)
        std::snprintf(buffer, sizeof buffer, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    else
        std::snprintf(buffer, sizeof buffer, "%ldm%02lds", whole / 60, whole % 60);
    return buffer;
}

std::string progress_line(const TrainProgress& at) {
    char buffer[256];
    std::snprintf(buffer, sizeof buffer, "step %ld/%ld  loss %.4f  rate %.2e  norm %.3f  %.0f tokens/s  %s left",
                  static_cast<long>(at.step), static_cast<long>(at.steps), at.outcome.loss, at.outcome.learning_rate,
                  at.outcome.gradient_norm, static_cast<double>(at.outcome.tokens) / at.seconds,
                  duration(at.seconds_left).c_str());
    std::string line = buffer;
    if (at.last_evaluation) {
        std::snprintf(buffer, sizeof buffer, "  valid %.4f", at.last_evaluation->loss);
        line += buffer;
    }
    return line;
}

TrainRequest request_from(const Arguments& arguments, Ranks& ranks) {
    TrainRequest request;
    request.config = arguments.config;
    request.given = arguments.given;
    request.data = arguments.value("data");
    request.out = arguments.value("out");
    request.resume = arguments.value("resume");
    request.accept_changed_data = arguments.value("data.changed") == "accept";
    request.init = arguments.value("init");
    request.threads = threads_of_a_rank(arguments.config.parallel.threads, ranks);
    return request;
}

int run_train(const Arguments& arguments, Ranks& ranks) {
    Progress progress(stderr, arguments.config.log.plain_seconds);
    TrainObserver observer;
    observer.step = [&](const TrainProgress& at) { progress.show(progress_line(at)); };
    observer.line = [&](const std::string& line) { progress.say(line); };

    std::optional<ProcessGrid> grid;
    ranks.together([&] { grid.emplace(ranks.session(), arguments.config.parallel.tensor); });
    TrainRequest request;
    ranks.together([&] { request = request_from(arguments, ranks); });
    TrainResult result;
    {
        Trainer trainer(std::move(request), grid->world(), grid->data(), [&](const auto& part) { ranks.together(part); },
                        observer);
        result = trainer.run();
    }
    if (ranks.is_first()) {
        const std::string out = arguments.value("out");
        progress.say(text(result.end == TrainEnd::kStopped ? "stopped on request" : "finished", " at step ", result.step,
                          "; checkpoint ", result.checkpoint, ", log ", out, "/log.jsonl"));
        if (result.end == TrainEnd::kStopped) progress.say(text("resume with: ", resume_command(arguments, ranks)));
    }
    return result.end == TrainEnd::kStopped ? kExitStopped : kExitDone;
}

}  // namespace

std::string resume_command(const Arguments& arguments, Ranks& ranks) {
    std::string line = ranks.session().size() > 1 ? text("mpirun -np ", ranks.session().size(), " ") : "";
    line += "skein train";
    for (const std::string& word : arguments.words) {
        const bool plain = !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                                  "0123456789-_./=:,%+@") == std::string::npos;
        line += ' ';
        if (plain) {
            line += word;
            continue;
        }
        line += '\'';
        for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
        line += '\'';
    }
    return line;
}

Command train_command() {
    Command command;
    command.name = "train";
    command.summary = "train a model, or go on with a run that was stopped";
    command.usage = "--data DIR --out DIR [--config FILE] [--preset NAME] [--SECTION.NAME VALUE ...]";
    command.options = {
        {.name = "data", .value = "DIR", .help = "the data folder (skein prepare)", .required = true},
        {.name = "out", .value = "DIR", .help = "the run's folder: checkpoints, log, configuration", .required = true},
        {.name = "resume",
         .value = "auto|never|DIR",
         .help = "go on from the newest good checkpoint in --out, from none, or from this one",
         .initial = "auto"},
        {.name = "init", .value = "DIR", .help = "take the weights of this checkpoint or run, and start afresh"},
        {.name = "data.changed",
         .value = "WHAT",
         .help = "when resuming with data other than the run began with",
         .initial = "refuse",
         .choices = {"refuse", "accept"}},
    };
    command.run_options = {"all"};
    command.takes_config = true;
    command.run_on_ranks = run_train;
    return command;
}

}  // namespace skein
