#include <iostream>

#include "checkpoint/checkpoint.h"
#include "data/incremental_decoder.h"
#include "data/tokenizer.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "model/base/error.h"
#include "model/base/parallel_for.h"
#include "model/decode/generate.h"
#include "trainer/model_state.h"

namespace skein {
namespace {

int run_generate(const Arguments& arguments) {
    SoloCommunicator alone;
    const int threads = arguments.config.parallel.threads;
    Stream stream(threads > 0 ? threads : bound_processors());
    const Checkpoint checkpoint = find_checkpoint(alone, arguments.value("checkpoint"),
                                                  [](const std::string& line) { std::cerr << line << std::endl; });
    const std::unique_ptr<Objective> objective = load_objective(checkpoint, alone, stream);
    const auto* model = dynamic_cast<const Transformer*>(&std::as_const(*objective).model());
    if (!model)
        throw ConfigError(text("generate: ", checkpoint.folder(), " holds no decoder; for an encoder-decoder: skein translate"));
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(checkpoint.folder());

    GenerateOptions options;
    options.tokens = arguments.integer("tokens", 1, std::int64_t{1} << 30);
    options.seed = static_cast<std::uint64_t>(arguments.integer("seed", 0, INT64_MAX));
    options.sampling.temperature = arguments.number("temperature", 0.0, 1e6);
    options.sampling.top_k = arguments.integer("top-k", 0, INT64_MAX);
    options.sampling.top_p = arguments.number("top-p", 1e-9, 1.0);
    options.stop = tokenizer->end_of_document();

    std::vector<std::int32_t> ids;
    tokenizer->encode(arguments.value("prompt"), ids);
    if (ids.empty()) throw ConfigError("--prompt: found no text, wanted at least one character");
    IncrementalDecoder decoder(*tokenizer, ids);
    std::cout << arguments.value("prompt") << std::flush;
    generate(*model, stream, ids, options, [&](std::int32_t id) { std::cout << decoder.add(id) << std::flush; });
    std::cout << std::endl;
    return kExitDone;
}

}  // namespace

Command generate_command() {
    Command command;
    command.name = "generate";
    command.summary = "continue a text with a decoder";
    command.usage = "--checkpoint DIR --prompt TEXT [--tokens N] [--temperature T] [--top-k K] [--top-p P]";
    command.options = {
        {.name = "checkpoint", .value = "DIR", .help = "a checkpoint, or a run's folder: its best one", .required = true},
        {.name = "prompt", .value = "TEXT", .help = "what to continue", .required = true},
        {.name = "tokens", .value = "N", .help = "tokens to add, at most", .initial = "200"},
        {.name = "temperature", .value = "T", .help = "0: always the most probable token", .initial = "1"},
        {.name = "top-k", .value = "K", .help = "only the K most probable; 0: all", .initial = "0"},
        {.name = "top-p", .value = "P", .help = "only the fewest that hold this probability", .initial = "1"},
        {.name = "seed", .value = "N", .help = "of the choice", .initial = "1"},
    };
    command.run_options = {"parallel.threads"};
    command.run = run_generate;
    return command;
}

}  // namespace skein
