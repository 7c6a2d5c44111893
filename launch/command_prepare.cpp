#include <chrono>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <limits>
#include <sstream>

#include "data/prepare.h"
#include "launch/command.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/progress.h"
#include "model/base/error.h"

namespace skein {

namespace {

std::string megabytes(std::uint64_t bytes) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / 1e6;
    return out.str();
}

std::string progress_line(const PrepareProgress& progress) {
    if (progress.total == 0) return "prepare: " + progress.phase;
    return text("prepare: ", progress.phase, " ", megabytes(progress.done), " of ", megabytes(progress.total),
                " MB, ", 100 * progress.done / progress.total, " %");
}

PrepareOptions prepare_options(const Arguments& arguments) {
    PrepareOptions options;
    options.text = arguments.list("text");
    options.valid_text = arguments.list("valid-text");
    if (arguments.has("valid-fraction"))
        options.valid_fraction = arguments.number("valid-fraction", 0.0, 0.999999);
    if (options.valid_fraction.value_or(0.0) > 0.0 && !options.valid_text.empty()) {
        throw ConfigError("options --valid-text and --valid-fraction: found both, wanted one of them");
    }
    options.tokenizer = arguments.value("tokenizer");
    for (const char* name : {"vocab", "pieces", "normalization"}) {
        if (arguments.has(name) && options.tokenizer != "sentencepiece") {
            throw ConfigError(text("option --", name,
                                   ": only for --tokenizer sentencepiece, found --tokenizer ",
                                   options.tokenizer));
        }
    }
    if (arguments.has("vocab")) {
        options.sentencepiece.vocab_size = static_cast<std::int32_t>(arguments.integer("vocab", 1, 1 << 24));
    }
    if (arguments.has("pieces")) options.sentencepiece.type = arguments.value("pieces");
    if (arguments.has("normalization"))
        options.sentencepiece.normalization = arguments.value("normalization");
    options.documents = documents_from(arguments.value("documents"));
    options.out = arguments.value("out");
    options.shard_tokens = static_cast<std::uint64_t>(
        arguments.integer("shard-tokens", 1, std::numeric_limits<std::int64_t>::max()));
    return options;
}

int run_prepare(const Arguments& arguments) {
    const auto start = std::chrono::steady_clock::now();
    PrepareOptions options = prepare_options(arguments);
    const DataFolder folder = [&] {
        Progress progress(stderr);
        options.progress = [&](const PrepareProgress& now) { progress.show(progress_line(now)); };
        return prepare_stream(options);
    }();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << "prepared " << folder.train_tokens() << " tokens in " << folder.train.size()
              << " shards and " << folder.valid_tokens() << " validation tokens in " << folder.valid.size()
              << ", vocabulary " << folder.header.vocab_size << " (" << folder.header.tokenizer << "), "
              << std::fixed << std::setprecision(1) << seconds.count() << " seconds: " << folder.path
              << std::endl;
    return kExitDone;
}

}  // namespace

Command prepare_command() {
    Command command;
    command.name = "prepare";
    command.summary = "text to token shards";
    command.usage = "--text FILE... --out DIR [--tokenizer bytes|chars|sentencepiece] [--OPTION VALUE ...]";
    using Kind = CommandOption::Kind;
    command.options = {
        {.name = "text", .value = "FILE", .help = "text to train on", .kind = Kind::kList, .required = true},
        {.name = "valid-text", .value = "FILE", .help = "text to validate on", .kind = Kind::kList},
        {.name = "valid-fraction",
         .value = "F",
         .help = "without --valid-text: this last part of the text validates; 0.1 unless given"},
        {.name = "tokenizer",
         .value = "NAME",
         .help = "how text becomes ids",
         .initial = "sentencepiece",
         .choices = {"bytes", "chars", "sentencepiece"}},
        {.name = "vocab", .value = "N", .help = "sentencepiece: size of the vocabulary; 8000 unless given"},
        {.name = "pieces",
         .value = "NAME",
         .help = "sentencepiece: how pieces are learned; bpe unless given",
         .choices = {"bpe", "unigram"}},
        {.name = "normalization",
         .value = "NAME",
         .help = "sentencepiece: what is done to text before; identity unless given",
         .choices = {"identity", "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"}},
        {.name = "documents",
         .value = "NAME",
         .help = "what a document is; an end token closes each, but for none",
         .initial = "none",
         .choices = {"none", "file", "line", "blank-line", "jsonl"}},
        {.name = "shard-tokens", .value = "N", .help = "tokens of a shard", .initial = "100000000"},
        {.name = "out",
         .value = "DIR",
         .help = "the data folder; one that is there is replaced",
         .required = true},
    };
    command.run = run_prepare;
    return command;
}

}  // namespace skein
