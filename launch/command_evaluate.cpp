#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "data/data_folder.h"
#include "data/sampler.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/ranks.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "trainer/evaluation.h"
#include "trainer/model_state.h"

namespace skein {
namespace {

int run_evaluate(const Arguments& arguments, Ranks& ranks) {
    Stream stream(threads_of_a_rank(arguments.config.parallel.threads, own_processors(ranks), ranks));
    std::optional<Checkpoint> checkpoint;
    std::unique_ptr<Transformer> model;
    std::optional<TokenStream> tokens;
    ranks.together([&] {
        checkpoint = find_checkpoint(ranks.world(), arguments.value("checkpoint"),
                                     [](const std::string& line) { std::cerr << line << std::endl; });
    });
    ranks.together([&] { model = load_model(*checkpoint, ranks.world(), stream); });
    ranks.together([&] {
        const DataFolder data = open_data_folder(arguments.value("data"));
        if (data.header.vocab_size != model->config().vocabulary)
            throw DataError(text("evaluate: ", data.path, " has a vocabulary of ", data.header.vocab_size,
                                 ", the model's is ", model->config().vocabulary));
        if (data.valid.empty()) throw DataError(text("evaluate: ", data.path, " has no validation shard"));
        tokens.emplace(data.path, data.valid, data.header);
        if (validation_windows(tokens->tokens(), static_cast<std::uint64_t>(model->config().context)) == 0)
            throw DataError(text("evaluate: ", tokens->tokens(), " validation tokens, wanted at least ",
                                 model->config().context + 1, " (--model.context and one)"));
    });
    Evaluation result;
    ranks.together(
        [&] { result = evaluate(*model, stream, ranks.world(), *tokens, arguments.config.eval.windows); });
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
        std::cout << checkpoint->folder() << ": loss " << result.loss << ", perplexity " << result.perplexity()
                  << ", accuracy " << result.accuracy << " over " << result.tokens << " tokens" << std::endl;
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
        {.name = "checkpoint", .value = "DIR", .help = "a checkpoint, or a run's folder: its best one", .required = true},
        {.name = "data", .value = "DIR", .help = "the data folder", .required = true},
        {.name = "json", .value = "", .help = "one line of JSON", .kind = CommandOption::Kind::kFlag},
    };
    command.run_options = {"eval.windows", "parallel.threads"};
    command.run_on_ranks = run_evaluate;
    return command;
}

}  // namespace skein
