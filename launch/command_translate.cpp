#include <cstdio>
#include <iostream>

#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/text_model.h"
#include "launch/translate_lines.h"
#include "model/base/error.h"

namespace skein {
namespace {

TranslateOptions options_from(const Arguments& arguments) {
    constexpr std::int64_t kMost = std::int64_t{1} << 20;
    TranslateOptions options;
    options.lines = arguments.integer("lines", 1, kMost);
    options.beam.beams = arguments.integer("beams", 1, 1024);
    options.beam.alpha = arguments.number("length-penalty", 0.0, 100.0);
    options.beam.penalty =
        arguments.value("length-penalty-kind") == "power" ? LengthPenalty::kPower : LengthPenalty::kGnmt;
    options.beam.length_factor = arguments.number("max-length-factor", 0.0, 1e6);
    options.beam.length_extra = arguments.integer("max-length-extra", 0, kMost);
    options.numbered = arguments.has("best");
    if (options.numbered) options.beam.best = arguments.integer("best", 1, options.beam.beams);
    return options;
}

int run_translate(const Arguments& arguments) {
    const TranslateOptions options = options_from(arguments);
    TextModel model(arguments, "translate");
    if (!model.encoder_decoder())
        throw ConfigError(text("--checkpoint: ", model.folder(),
                               " holds a decoder, wanted an encoder-decoder; for a decoder: skein generate"));
    translate_lines(*model.encoder_decoder(), model.stream(), model.source_tokenizer(), model.tokenizer(),
                    std::cin, std::cout, options,
                    [](const std::string& line) { std::cerr << "skein translate: " << line << std::endl; });
    if (std::ferror(stdin)) throw IoError("read standard input: it cannot be read to its end");
    return kExitDone;
}

}  // namespace

Command translate_command() {
    Command command;
    command.name = "translate";
    command.summary = "translate lines of text with an encoder-decoder";
    command.usage = "--checkpoint DIR [--beams N] [--length-penalty ALPHA] [--best N] < source > target";
    command.options = {
        {.name = "checkpoint",
         .value = "DIR",
         .help = "a checkpoint, or a run's folder: its best one",
         .required = true},
        {.name = "beams",
         .value = "N",
         .help = "translations followed side by side; 1: greedy",
         .initial = "4"},
        {.name = "length-penalty",
         .value = "ALPHA",
         .help = "how much long translations are favoured; 0: not at all",
         .initial = "0.6"},
        {.name = "length-penalty-kind",
         .value = "NAME",
         .help = "log-probabilities are divided by ((5 + length) / 6)^ALPHA or by length^ALPHA",
         .initial = "gnmt",
         .choices = {"gnmt", "power"}},
        {.name = "best",
         .value = "N",
         .help = "write the N best of each line, as NUMBER ||| TRANSLATION ||| SCORE"},
        {.name = "max-length-factor",
         .value = "F",
         .help = "a translation has at most F times its source's tokens",
         .initial = "1"},
        {.name = "max-length-extra", .value = "N", .help = "and N tokens more", .initial = "50"},
        {.name = "lines", .value = "N", .help = "lines held at a time", .initial = "1024"},
    };
    command.run_options = {"device", "parallel.threads"};
    command.run = run_translate;
    return command;
}

}  // namespace skein
