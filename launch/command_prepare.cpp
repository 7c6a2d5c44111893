#include <chrono>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <limits>
#include <optional>
#include <sstream>

#include "data/prepare.h"
#include "data/prepare_pairs.h"
#include "launch/command.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/progress.h"
#include "model/base/error.h"

namespace skein {

namespace {

constexpr std::int64_t kMostVocabulary = 1 << 24;

std::string megabytes(std::uint64_t bytes) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / 1e6;
    return out.str();
}

std::string progress_line(const PrepareProgress& progress) {
    if (progress.total == 0 && progress.done == 0) return "prepare: " + progress.phase;
    if (progress.total == 0) return text("prepare: ", progress.phase, " ", megabytes(progress.done), " MB");
    return text("prepare: ", progress.phase, " ", megabytes(progress.done), " of ", megabytes(progress.total),
                " MB, ", 100 * progress.done / progress.total, " %");
}

/// `files`: the option that gives validation files.
std::optional<double> valid_fraction(const Arguments& arguments, const std::string& files) {
    if (!arguments.has("valid-fraction")) return std::nullopt;
    const double fraction = arguments.number("valid-fraction", 0.0, 0.999999);
    if (fraction > 0.0 && arguments.has(files)) {
        throw ConfigError(text("options --", files, " and --valid-fraction: found both, wanted one of them"));
    }
    return fraction;
}

SentencePieceOptions sentencepiece_options(const Arguments& arguments) {
    SentencePieceOptions options;
    if (arguments.has("vocab"))
        options.vocab_size = static_cast<std::int32_t>(arguments.integer("vocab", 1, kMostVocabulary));
    if (arguments.has("pieces")) options.type = arguments.value("pieces");
    if (arguments.has("normalization")) options.normalization = arguments.value("normalization");
    if (arguments.has("coverage")) options.character_coverage = arguments.number("coverage", 0.98, 1.0);
    return options;
}

std::uint64_t shard_tokens(const Arguments& arguments) {
    return static_cast<std::uint64_t>(
        arguments.integer("shard-tokens", 1, std::numeric_limits<std::int64_t>::max()));
}

void refuse(const Arguments& arguments, const std::vector<std::string>& names, const std::string& wanted) {
    for (const std::string& name : names) {
        if (arguments.has(name)) throw ConfigError(text("option --", name, ": only for ", wanted));
    }
}

PreparePairsOptions pairs_options(const Arguments& arguments) {
    refuse(arguments, {"text", "valid-text"}, "text without --source and --target");
    for (const char* name : {"source", "target"}) {
        if (!arguments.has(name))
            throw ConfigError(
                text("option --", name, " is missing, wanted --source FILE... --target FILE..."));
    }
    if (const std::string found = arguments.value("tokenizer"); found != "sentencepiece")
        throw ConfigError(text("option --tokenizer: found '", found, "', pairs take sentencepiece"));
    if (const std::string found = arguments.value("documents"); found != "none")
        throw ConfigError(text("option --documents: found '", found, "', pairs take none"));
    PreparePairsOptions options;
    options.source = arguments.list("source");
    options.target = arguments.list("target");
    options.valid_source = arguments.list("valid-source");
    options.valid_target = arguments.list("valid-target");
    options.valid_fraction = valid_fraction(arguments, "valid-source");
    options.joint = !arguments.has("separate");
    options.sentencepiece = sentencepiece_options(arguments);
    if (arguments.has("source-vocab")) {
        if (options.joint) throw ConfigError("option --source-vocab: only for --separate");
        options.source_vocab_size =
            static_cast<std::int32_t>(arguments.integer("source-vocab", 1, kMostVocabulary));
    }
    if (arguments.has("empty")) options.empty_sides = empty_sides_from(arguments.value("empty"));
    if (arguments.has("max-length"))
        options.most_tokens = static_cast<std::uint64_t>(arguments.integer("max-length", 1, 1 << 30));
    if (arguments.has("max-ratio")) options.most_ratio = arguments.number("max-ratio", 1.0, 1e9);
    options.out = arguments.value("out");
    options.shard_tokens = shard_tokens(arguments);
    return options;
}

PrepareOptions stream_options(const Arguments& arguments) {
    refuse(arguments,
           {"valid-source", "valid-target", "separate", "source-vocab", "empty", "max-length", "max-ratio"},
           "--source and --target");
    if (!arguments.has("text"))
        throw ConfigError("option --text is missing, wanted --text FILE..., or --source and --target");
    PrepareOptions options;
    options.text = arguments.list("text");
    options.valid_text = arguments.list("valid-text");
    options.valid_fraction = valid_fraction(arguments, "valid-text");
    options.tokenizer = arguments.value("tokenizer");
    for (const char* name : {"vocab", "pieces", "normalization", "coverage"}) {
        if (arguments.has(name) && options.tokenizer != "sentencepiece") {
            throw ConfigError(text("option --", name,
                                   ": only for --tokenizer sentencepiece, found --tokenizer ",
                                   options.tokenizer));
        }
    }
    options.sentencepiece = sentencepiece_options(arguments);
    options.documents = documents_from(arguments.value("documents"));
    options.out = arguments.value("out");
    options.shard_tokens = shard_tokens(arguments);
    return options;
}

/// What was prepared, and of pairs what was left out and why.
std::string summary(const DataFolder& folder) {
    const bool is_pairs = folder.kind == DataKind::kPairs;
    const auto part = [&](const char* what, std::uint64_t documents, std::uint64_t tokens,
                          std::size_t shards) {
        return text(is_pairs ? text(documents, " ", what, "pairs with ", tokens, " target tokens")
                             : text(tokens, " ", what, "tokens"),
                    " in ", shards, " shards");
    };
    const ShardHeader &header = folder.header, &source = folder.source_header;
    std::string out = text(
        "prepared ", part("", folder.train_documents(), folder.train_tokens(), folder.train.size()), " and ",
        part("validation ", folder.valid_documents(), folder.valid_tokens(), folder.valid.size()),
        ", vocabulary ", header.vocab_size, " (", header.tokenizer, ")");
    if (is_pairs && !folder.pair_header().is_joint()) out += text(", of the source ", source.vocab_size);
    for (const auto& [reason, count] : folder.dropped) out += text(", dropped ", reason, " ", count);
    return out;
}

int run_prepare(const Arguments& arguments) {
    const auto start = std::chrono::steady_clock::now();
    const auto with_progress = [](auto options, auto prepare) {
        Progress progress(stderr);
        options.progress = [&](const PrepareProgress& now) { progress.show(progress_line(now)); };
        return prepare(options);
    };
    const DataFolder folder =
        arguments.has("source") || arguments.has("target")
            ? with_progress(pairs_options(arguments), [](const auto& all) { return prepare_pairs(all); })
            : with_progress(stream_options(arguments), [](const auto& all) { return prepare_stream(all); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << summary(folder) << ", " << std::fixed << std::setprecision(1) << seconds.count()
              << " seconds: " << folder.path << std::endl;
    return kExitDone;
}

}  // namespace

Command prepare_command() {
    Command command;
    command.name = "prepare";
    command.summary = "text, or sentence pairs, to token shards";
    command.usage =
        "--text FILE... --out DIR [--tokenizer bytes|chars|sentencepiece] [--OPTION VALUE ...]\n"
        "skein prepare --source FILE... --target FILE... --out DIR [--OPTION VALUE ...]";
    using Kind = CommandOption::Kind;
    command.options = {
        {.name = "text", .value = "FILE", .help = "text to train on", .kind = Kind::kList},
        {.name = "valid-text", .value = "FILE", .help = "text to validate on", .kind = Kind::kList},
        {.name = "source",
         .value = "FILE",
         .help = "pairs: sentences to translate from, one a line, plain or gzip",
         .kind = Kind::kList},
        {.name = "target",
         .value = "FILE",
         .help = "pairs: their translations, line by line",
         .kind = Kind::kList},
        {.name = "valid-source", .value = "FILE", .help = "pairs to validate on", .kind = Kind::kList},
        {.name = "valid-target", .value = "FILE", .help = "their translations", .kind = Kind::kList},
        {.name = "valid-fraction",
         .value = "F",
         .help = "without validation files: this last part of the text or pairs validates; 0.1 unless given"},
        {.name = "max-length", .value = "N", .help = "pairs: drop those with more tokens on a side"},
        {.name = "max-ratio",
         .value = "R",
         .help = "pairs: drop those with a side more than R times as long as the other"},
        {.name = "empty",
         .value = "NAME",
         .help = "pairs: what becomes of one with an empty side; drop unless given",
         .choices = {"drop", "error"}},
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
        {.name = "coverage",
         .value = "F",
         .help = "sentencepiece: share of all characters with a piece of their own; 0.9995 unless given"},
        {.name = "separate",
         .value = "",
         .help = "pairs: a vocabulary for each side instead of a joint one",
         .kind = Kind::kFlag},
        {.name = "source-vocab",
         .value = "N",
         .help = "pairs, --separate: size of the source's; --vocab unless given"},
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
