#include <iostream>

#include "data/incremental_decoder.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/text_model.h"
#include "launch/translate_lines.h"
#include "model/base/error.h"
#include "model/decode/generate.h"

namespace skein {
namespace {

GenerateOptions options_from(const Arguments& arguments) {
    GenerateOptions options;
    options.tokens = arguments.integer("tokens", 1, std::int64_t{1} << 30);
    options.seed = static_cast<std::uint64_t>(arguments.integer("seed", 0, INT64_MAX));
    options.sampling.temperature = arguments.number("temperature", 0.0, 1e6);
    options.sampling.top_k = arguments.integer("top-k", 0, INT64_MAX);
    options.sampling.top_p = arguments.number("top-p", 1e-9, 1.0);
    return options;
}

/// Prints what the ids gain, as each comes.
std::function<void(std::int32_t)> printer(IncrementalDecoder& decoder) {
    return [&decoder](std::int32_t id) { std::cout << decoder.add(id) << std::flush; };
}

void continue_text(TextModel& model, const std::string& prompt, GenerateOptions options) {
    const Tokenizer& tokenizer = model.tokenizer();
    options.stop = tokenizer.end_of_document();
    std::vector<std::int32_t> ids;
    tokenizer.encode(prompt, ids);
    if (ids.empty()) throw ConfigError("--prompt: found no text, wanted at least one character");
    IncrementalDecoder decoder(tokenizer, ids);
    std::cout << prompt << std::flush;
    generate(*model.decoder(), model.stream(), ids, options, printer(decoder));
}

void sample_translation(TextModel& model, const std::string& prompt, GenerateOptions options) {
    const std::int64_t context = model.encoder_decoder()->config().context;
    options.stop = SentencePieceIds::kEnd;
    const SourceSentence source = encode_source(model.source_tokenizer(), prompt, context);
    if (source.ids.empty()) throw ConfigError("--prompt: found no text, wanted a sentence to translate");
    if (source.is_cut())
        std::cerr << "skein generate: the prompt is cut: with its end it has " << source.tokens
                  << " tokens, the model's context is " << context << std::endl;
    IncrementalDecoder decoder(model.tokenizer(), {});
    generate(*model.encoder_decoder(), model.stream(), source.ids, SentencePieceIds::kBegin, options,
             printer(decoder));
}

int run_generate(const Arguments& arguments) {
    const GenerateOptions options = options_from(arguments);
    TextModel model(arguments, "generate");
    if (model.decoder())
        continue_text(model, arguments.value("prompt"), options);
    else
        sample_translation(model, arguments.value("prompt"), options);
    std::cout << std::endl;
    if (!std::cout) throw IoError("write the text: standard output does not take it");
    return kExitDone;
}

}  // namespace

Command generate_command() {
    Command command;
    command.name = "generate";
    command.summary = "continue a text with a decoder, or sample a translation from an encoder-decoder";
    command.usage = "--checkpoint DIR --prompt TEXT [--tokens N] [--temperature T] [--top-k K] [--top-p P]";
    command.options = {
        {.name = "checkpoint",
         .value = "DIR",
         .help = "a checkpoint, or a run's folder: its best one",
         .required = true},
        {.name = "prompt", .value = "TEXT", .help = "what to continue or to translate", .required = true},
        {.name = "tokens", .value = "N", .help = "tokens to add, at most", .initial = "200"},
        {.name = "temperature", .value = "T", .help = "0: always the most probable token", .initial = "1"},
        {.name = "top-k", .value = "K", .help = "only the K most probable; 0: all", .initial = "0"},
        {.name = "top-p", .value = "P", .help = "only the fewest that hold this probability", .initial = "1"},
        {.name = "seed", .value = "N", .help = "of the choice", .initial = "1"},
    };
    command.run_options = {"device", "parallel.threads"};
    command.run = run_generate;
    return command;
}

}  // namespace skein
