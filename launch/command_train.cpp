#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>

#include "launch/commands.h"
#include "launch/device.h"
#include "launch/failure.h"
#include "launch/memory.h"
#include "launch/progress.h"
#include "launch/rank_place.h"
#include "launch/ranks.h"
#include "model/base/error.h"
#include "trainer/memory_plan.h"
#include "trainer/run_rules.h"
#include "trainer/stop_signal.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

constexpr const char* kDeviceMemory = "device-memory";

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
    std::snprintf(buffer, sizeof buffer,
                  "step %ld/%ld  loss %.4f  rate %.2e  norm %.3f  %.0f tokens/s  %s left",
                  static_cast<long>(at.step), static_cast<long>(at.steps), at.outcome.loss,
                  at.outcome.learning_rate, at.outcome.gradient_norm,
                  static_cast<double>(at.outcome.tokens) / at.seconds, duration(at.seconds_left).c_str());
    std::string line = buffer;
    if (at.utilisation) {
        std::snprintf(buffer, sizeof buffer, "  utilisation %.1f %%", 100.0 * *at.utilisation);
        line += buffer;
    }
    if (at.last_evaluation) {
        std::snprintf(buffer, sizeof buffer, "  valid %.4f", at.last_evaluation->loss);
        line += buffer;
    }
    return line;
}

// As a shell reads it back.
std::string shell_word(const std::string& word) {
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789-_./=:,%+@") == std::string::npos;
    if (plain) return word;
    std::string quoted = "'";
    for (const char c : word)
        if (c == '\'')
            quoted += "'\\''";
        else
            quoted += c;
    return quoted + "'";
}

std::string resume_command(const Arguments& arguments, const Ranks& ranks) {
    std::error_code ignored;
    const std::string program = std::filesystem::read_symlink("/proc/self/exe", ignored).string();
    std::string line = ranks.session().size() > 1 ? text("mpirun -np ", ranks.session().size(), " ") : "";
    line += text(program.empty() ? "skein" : shell_word(program), " train");
    for (std::size_t i = 0; i < arguments.words.size(); ++i) {
        const std::string& word = arguments.words[i];
        // where it began does not matter any more: it goes on from what OUT holds now
        if (word == "--resume") ++i;
        if (word == "--resume" || word.starts_with("--resume=")) continue;
        line += text(" ", shell_word(word));
    }
    return line;
}

TrainRequest request_from(const Arguments& arguments) {
    TrainRequest request;
    request.config = arguments.config;
    request.given = arguments.given;
    request.data = arguments.value("data");
    request.out = arguments.value("out");
    request.resume = arguments.value("resume");
    request.accept_changed_data = arguments.value("data.changed") == "accept";
    request.init = arguments.value("init");
    if (arguments.has(kDeviceMemory)) {
        request.memory = parse_size(kDeviceMemory, arguments.value(kDeviceMemory));
        request.memory_of = text("--", kDeviceMemory);
    }
    return request;
}

/// `skein train --plan`: on rank 0 alone, and without a GPU.
void print_plan(const Arguments& arguments, int ranks) {
    PlanPlace place;
    place.ranks = arguments.has("ranks") ? static_cast<int>(arguments.integer("ranks", 1, 4096)) : ranks;
    const std::size_t limit =
        arguments.has(kDeviceMemory) ? parse_size(kDeviceMemory, arguments.value(kDeviceMemory)) : 0;
    RunConfig config = effective(arguments.config);
    const DataFolder folder = open_data_folder(arguments.value("data"), DataCheck::kSizes);
    fit_to_data(config.model, folder);
    validate(config);
    const bool gpu = config.device == "cuda" || (config.device == "auto" && find_gpus().count > 0);
    place.device = gpu ? Device::cuda : Device::cpu;
    place.queued = gpu && place.ranks > 1 && config.parallel.transport != TransportChoice::kMpi;
    place.program = gpu ? 0 : resident_bytes();
    const std::unique_ptr<TrainingData> training = open_training_data(folder, config);
    const std::unique_ptr<ValidationData> validation =
        folder.valid.empty()
            ? nullptr
            : open_validation_data(folder, config.model, config.train.long_pairs, config.eval.samples);
    const PlannedRun run(config, place, *training, validation.get());
    std::cout << "of " << place.ranks << (place.ranks == 1 ? " rank" : " ranks")
              << (gpu ? " on GPUs, " : " on the CPU, ") << plan_line(run.plan()) << std::endl;
    if (limit > 0) run.check_fits(limit, text("--", kDeviceMemory));
}

/// Then a SIGTERM to all ranks is how a job is stopped, and not, as mpirun's, a sign that a rank is gone.
bool is_started_by_srun() {
    const char* name_space = std::getenv("PMIX_NAMESPACE");
    return name_space && std::string_view(name_space).starts_with("slurm.");
}

/// Of the ranks that know of the error the one that tells it writes to OUT/runs.jsonl how the run ended.
void note_failure(Trainer& trainer, const Ranks& ranks) {
    try {
        throw;
    } catch (const AgreedFailure& agreed) {
        if (ranks.is_first()) trainer.note_failure(agreed.failure().message, agreed.failure().code);
    } catch (const PeerError& error) {
        if (error.speaker() == ranks.session().rank()) trainer.note_failure(error.what(), kExitRank);
    } catch (...) {
        const Failure failure = failure_of(std::current_exception());
        trainer.note_failure(text(ranks.name_of(ranks.session().rank()), ": ", failure.message),
                             failure.code);
    }
}

int run_train(const Arguments& arguments, Ranks& ranks) {
    ranks.together([&] {
        if (arguments.has("plan")) {
            if (ranks.is_first()) print_plan(arguments, ranks.session().size());
        } else if (!arguments.has("out")) {
            throw ConfigError("option --out is missing, wanted --out DIR");
        } else if (arguments.has("ranks")) {
            throw ConfigError("option --ranks: found without --plan; mpirun says how many ranks a run has");
        }
    });
    if (arguments.has("plan")) return kExitDone;
    const StopSignal stop;  // also knows of those that came before
    Patience& patience = ranks.session().patience();
    patience.asked_to_end = StopSignal::terminated;
    if (!is_started_by_srun())
        patience.remark = [](const std::string& line) { std::cerr << "skein train: " << line << std::endl; };
    Progress progress(stderr, arguments.config.log.plain_seconds);
    TrainObserver observer;
    if (ranks.is_first()) observer.step = [&](const TrainProgress& at) { progress.show(progress_line(at)); };
    observer.line = [&](const std::string& line) { progress.say(line); };

    std::optional<ProcessGrid> grid;
    TrainRequest request = request_from(arguments);
    run_on(ranks, grid, request);
    TrainResult result;
    {
        Trainer trainer(
            std::move(request), ranks.world(), [&](const auto& part) { ranks.together(part); }, observer);
        try {
            result = trainer.run(stop);
        } catch (...) {
            note_failure(trainer, ranks);
            throw;
        }
    }
    if (ranks.is_first()) {
        const std::string out = arguments.value("out");
        progress.say(text(result.end == TrainEnd::kStopped ? "stopped on request" : "finished", " at step ",
                          result.step, "; checkpoint ", result.checkpoint, ", log ", out, "/log.jsonl"));
        if (result.end == TrainEnd::kStopped)
            progress.say(text("resume with: ", resume_command(arguments, ranks)));
    }
    return result.end == TrainEnd::kStopped ? kExitStopped : kExitDone;
}

}  // namespace

Command train_command() {
    Command command;
    command.name = "train";
    command.summary = "train a model, or go on with a run that was stopped";
    command.usage =
        "--data DIR --out DIR [--config FILE] [--preset NAME] [--SECTION.NAME VALUE ...]\n"
        "skein train --plan [--ranks N] [--device-memory SIZE] --data DIR [...]";
    command.options = {
        {.name = "data", .value = "DIR", .help = "the data folder (skein prepare)", .required = true},
        {.name = "out",
         .value = "DIR",
         .help = "the run's folder: checkpoints, log, configuration (required but with --plan)"},
        {.name = "resume",
         .value = "auto|never|DIR",
         .help = "go on from the newest good checkpoint in --out, from none, or from this one",
         .initial = "auto"},
        {.name = "init",
         .value = "DIR",
         .help = "take the weights of this checkpoint or run, and start afresh"},
        {.name = "data.changed",
         .value = "WHAT",
         .help = "when resuming with data other than the run began with",
         .initial = "refuse",
         .choices = {"refuse", "accept"}},
        {.name = kDeviceMemory,
         .value = "SIZE",
         .help =
             "what a rank may take, such as 80G or 512M: a run that needs more ends before its first step"},
        {.name = "plan",
         .value = "",
         .help = "print the memory that a rank will need, and train nothing",
         .kind = CommandOption::Kind::kFlag},
        {.name = "ranks", .value = "N", .help = "with --plan: of a run of so many ranks"},
    };
    command.run_options = {"all"};
    command.takes_config = true;
    command.stops_on_signal = true;
    command.run_on_ranks = run_train;
    return command;
}

}  // namespace skein
