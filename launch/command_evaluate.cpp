#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "data/data_folder.h"
#include "launch/commands.h"
#include "launch/device.h"
#include "launch/failure.h"
#include "launch/ranks.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "parallel/process_grid.h"
#include "trainer/evaluation.h"
#include "trainer/model_state.h"

namespace skein {
namespace {

int run_evaluate(const Arguments& arguments, Ranks& ranks) {
    const int own = own_processors(ranks);
    Stream stream(device_of_a_rank(arguments.config.device, ranks),
                  threads_of_a_rank(arguments.config.parallel.threads, own, ranks));
    std::optional<ProcessGrid> grid;
    ranks.together([&] { grid.emplace(ranks.session(), arguments.config.parallel.tensor); });
    TensorGroup tensor_group(grid->tensor());
    TensorSharing sharing;
    if (tensor_group.size() > 1) sharing.group = &tensor_group;
    std::optional<Checkpoint> checkpoint;
    std::unique_ptr<Objective> objective;
    std::unique_ptr<ValidationData> samples;
    ranks.together([&] {
        checkpoint = find_checkpoint(ranks.world(), arguments.value("checkpoint"),
                                     [](const std::string& line) { std::cerr << line << std::endl; });
    });
    ranks.together([&] { objective = load_objective(*checkpoint, ranks.world(), stream, sharing); });
    const DataFolder data =
        open_data_together(arguments.value("data"), ranks.session().rank(),
                           [&](const std::function<void()>& part) { ranks.together(part); });
    ranks.together([&] {
        ModelConfig model = objective->model().config();
        fit_to_data(model, data);
        check_tokenizers(checkpoint->manifest(), data);
        if (data.valid.empty()) throw DataError(text("evaluate: ", data.path, " has no validation shard"));
        samples = open_validation_data(data, model, arguments.config.train.long_pairs,
                                       arguments.config.eval.samples);
    });
    Evaluation result;
    ranks.together([&] { result = evaluate(*objective, stream, grid->data(), *samples); });
    if (!ranks.is_first()) return kExitDone;
    if (arguments.has("json")) {
        std::cout << nlohmann::ordered_json{{"checkpoint", checkpoint->folder()},
                                            {"step", checkpoint->manifest().run.step},
                                            {"valid_loss", result.loss},
                                            {"valid_perplexity", result.perplexity()},
                                            {"valid_accuracy", result.accuracy},
                                            {"valid_tokens", result.tokens}}
                         .dump()
                  << std::endl;
    } else {
        std::cout << checkpoint->folder() << ": loss " << result.loss << ", perplexity "
                  << result.perplexity() << ", accuracy " << result.accuracy << " over " << result.tokens
                  << " tokens" << std::endl;
    }
    return kExitDone;
}

}  // namespace

Command evaluate_command() {
    Command command;
    command.name = "evaluate";
    command.summary = "loss, perplexity and accuracy of a checkpoint on validation data";
    command.usage = "--checkpoint DIR --data DIR [--json]";
    command.options = {
        {.name = "checkpoint",
         .value = "DIR",
         .help = "a checkpoint, or a run's folder: its best one",
         .required = true},
        {.name = "data", .value = "DIR", .help = "the data folder", .required = true},
        {.name = "json", .value = "", .help = "one line of JSON", .kind = CommandOption::Kind::kFlag},
    };
    command.run_options = {"eval.samples",    "train.long-pairs", "device",
                           "parallel.tensor", "parallel.threads", "parallel.timeout"};
    command.run_on_ranks = run_evaluate;
    return command;
}

}  // namespace skein
