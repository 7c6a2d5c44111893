#include "data/prepare_pairs.h"

#include <algorithm>
#include <cmath>

#include "data/line_reader.h"
#include "data/utf8.h"
#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kValidSourceName = "valid.source";
constexpr const char* kValidTargetName = "valid.target";

using TakePair = std::function<void(const std::string& source, const std::string& target)>;

std::uint64_t count_rest(LineReader& reader) {
    std::string line;
    while (reader.next(line)) {
    }
    return reader.lines();
}

/// Calls `take` with every pair of lines, file by file.
void read_line_pairs(const std::vector<std::string>& sources, const std::vector<std::string>& targets,
                     const TakePair& take) {
    std::string source_line, target_line;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        LineReader source(sources[i]), target(targets[i]);
        while (true) {
            const bool has_source = source.next(source_line), has_target = target.next(target_line);
            if (!has_source && !has_target) break;
            if (has_source != has_target) {
                const std::uint64_t source_lines = count_rest(source), target_lines = count_rest(target);
                throw DataError(text("pairs: ", source.path(), " has ", source_lines, " lines and ",
                                     target.path(), " has ", target_lines, ", wanted as many of both"));
            }
            take(source_line, target_line);
        }
    }
}

/// What one reading of the text tells.
struct Scan {
    std::uint64_t pairs = 0, valid_pairs = 0;
    std::uint64_t source_bytes = 0, target_bytes = 0;  // of the text
    std::uint64_t bytes = 0;                           // of the validation text, too
};

Scan scan_text(const PreparePairsOptions& options) {
    Meter meter(options.progress, "reading", 0);
    Scan scan;
    read_line_pairs(options.source, options.target,
                    [&](const std::string& source, const std::string& target) {
                        ++scan.pairs;
                        scan.source_bytes += source.size();
                        scan.target_bytes += target.size();
                        meter.add(source.size() + target.size());
                    });
    scan.bytes = scan.source_bytes + scan.target_bytes;
    read_line_pairs(options.valid_source, options.valid_target,
                    [&](const std::string& source, const std::string& target) {
                        ++scan.valid_pairs;
                        scan.bytes += source.size() + target.size();
                        meter.add(source.size() + target.size());
                    });
    if (scan.source_bytes == 0 || scan.target_bytes == 0)
        throw DataError(text("pairs: ", options.source.front(), " and ", options.target.front(), ": found ",
                             scan.source_bytes, " and ", scan.target_bytes, " bytes, wanted text in both"));
    return scan;
}

struct Tokenizers {
    std::unique_ptr<Tokenizer> target, own_source;
    const Tokenizer& source() const { return own_source ? *own_source : *target; }
};

/// Learns from the first `cut` pairs.
Tokenizers learn(const PreparePairsOptions& options, const Scan& scan, std::uint64_t cut) {
    LineSample sources(scan.pairs, std::max<std::uint64_t>(scan.source_bytes, 1));
    LineSample targets(scan.pairs, std::max<std::uint64_t>(scan.target_bytes, 1));
    LineSample both(2 * scan.pairs, scan.source_bytes + scan.target_bytes);
    Meter meter(options.progress, "learning the vocabulary", 0);
    std::uint64_t pair = 0;
    read_line_pairs(options.source, options.target,
                    [&](const std::string& source, const std::string& target) {
                        if (pair++ >= cut || is_blank(source) || is_blank(target)) return;
                        (options.joint ? both : sources).offer(source);
                        (options.joint ? both : targets).offer(target);
                    });
    Tokenizers out;
    if (options.joint) {
        out.target = train_sentencepiece(both.take(), options.sentencepiece);
        return out;
    }
    out.target = train_sentencepiece(targets.take(), options.sentencepiece);
    SentencePieceOptions source = options.sentencepiece;
    if (options.source_vocab_size > 0) source.vocab_size = options.source_vocab_size;
    out.own_source = train_sentencepiece(sources.take(), source);
    return out;
}

/// Encodes pairs into training and validation shards, and keeps the raw validation text.
class PairSplitter {
  public:
    PairSplitter(const PreparePairsOptions& options, const Tokenizers& tokenizers, const PairHeader& header,
                 const std::string& folder, FileSystem& system)
        : options_(options),
          tokenizers_(tokenizers),
          train_(folder, "train", header, options.shard_tokens, system),
          valid_(folder, "valid", header, options.shard_tokens, system),
          raw_source_(system, folder + "/" + kValidSourceName),
          raw_target_(system, folder + "/" + kValidTargetName) {}

    /// Pairs from number `cut` on, counted over these files, validate.
    void run(const std::vector<std::string>& sources, const std::vector<std::string>& targets,
             std::uint64_t cut, Meter& meter) {
        std::uint64_t pair = 0;
        read_line_pairs(sources, targets, [&](const std::string& source, const std::string& target) {
            meter.add(source.size() + target.size());
            put(source, target, pair++ >= cut);
        });
    }

    void finish(DataFolder& folder) {
        raw_source_.finish();
        raw_target_.finish();
        folder.train = train_.finish();
        folder.valid = valid_.finish();
        folder.dropped = std::move(dropped_);
    }

  private:
    void put(const std::string& source, const std::string& target, bool is_valid) {
        ++pairs_;
        source_ids_.clear();
        target_ids_.clear();
        if (!is_blank(source)) tokenizers_.source().encode(source, source_ids_);
        if (!is_blank(target)) tokenizers_.target->encode(target, target_ids_);
        if (source_ids_.empty() || target_ids_.empty()) {
            if (options_.empty_sides == EmptySides::kError)
                throw DataError(text("pairs: pair ", pairs_, " has an empty ",
                                     source_ids_.empty() ? "source" : "target",
                                     ", wanted text on both sides"));
            ++dropped_[is_valid ? "valid-empty" : "empty"];
        } else if (is_valid) {
            valid_.append(source_ids_, target_ids_);
            raw_source_.write(source + "\n");
            raw_target_.write(target + "\n");
        } else if (const char* reason = why_dropped()) {
            ++dropped_[reason];
        } else {
            train_.append(source_ids_, target_ids_);
        }
    }

    /// Null: it is kept.
    const char* why_dropped() const {
        const auto [shorter, longer] = std::minmax({source_ids_.size(), target_ids_.size()});
        if (options_.most_tokens > 0 && longer > options_.most_tokens) return "long";
        if (options_.most_ratio > 0 &&
            static_cast<double>(longer) > options_.most_ratio * static_cast<double>(shorter))
            return "ratio";
        return nullptr;
    }

    const PreparePairsOptions& options_;
    const Tokenizers& tokenizers_;
    PairWriter train_, valid_;
    FileWriter raw_source_, raw_target_;
    std::map<std::string, std::uint64_t> dropped_;
    std::uint64_t pairs_ = 0;
    std::vector<std::int32_t> source_ids_, target_ids_;
};

void require_as_many(const char* source_option, const std::vector<std::string>& sources,
                     const char* target_option, const std::vector<std::string>& targets) {
    if (sources.size() != targets.size())
        throw ConfigError(text(source_option, " and ", target_option, ": found ", sources.size(), " and ",
                               targets.size(), " files, wanted as many of both"));
}

void check_options(const PreparePairsOptions& options) {
    require_as_many("source", options.source, "target", options.target);
    require_as_many("valid-source", options.valid_source, "valid-target", options.valid_target);
    if (options.source.empty()) throw ConfigError("source: found no file, wanted at least one");
    if (options.out.empty()) throw ConfigError("out: found no folder, wanted one to write to");
    if (options.valid_fraction && !options.valid_source.empty())
        throw ConfigError("valid-fraction: found beside valid-source, wanted one of the two");
    require_fraction(options.valid_fraction.value_or(0));
    if (!(options.most_ratio == 0 || options.most_ratio >= 1))
        throw ConfigError(text("max-ratio: found ", options.most_ratio, ", wanted 1 or more, or 0 for any"));
    if (options.source_vocab_size != 0 && options.joint)
        throw ConfigError("source-vocab: found beside a joint vocabulary, wanted separate ones");
    require_replaceable(options.out);
}

std::string describe(const std::map<std::string, std::uint64_t>& dropped) {
    std::string out;
    for (const auto& [reason, count] : dropped) out += text(out.empty() ? "" : ", ", count, " ", reason);
    return out.empty() ? "none" : out;
}

ShardHeader header_of(const Tokenizer& tokenizer) {
    return {tokenizer.vocab_size(), tokenizer.name(), sha256_of(tokenizer)};
}

}  // namespace

EmptySides empty_sides_from(std::string_view name) {
    if (name == "drop") return EmptySides::kDrop;
    if (name == "error") return EmptySides::kError;
    throw ConfigError(text("empty: found \"", name, "\", wanted drop or error"));
}

DataFolder prepare_pairs(const PreparePairsOptions& options, FileSystem& system) {
    check_options(options);
    const Scan scan = scan_text(options);
    const double fraction = options.valid_fraction.value_or(options.valid_source.empty() ? 0.1 : 0.0);
    const auto cut =
        static_cast<std::uint64_t>(std::floor(static_cast<double>(scan.pairs) * (1.0 - fraction)));
    const Tokenizers tokenizers = learn(options, scan, cut);

    DataFolder folder;
    folder.path = options.out;
    folder.kind = DataKind::kPairs;
    folder.header = header_of(*tokenizers.target);
    folder.source_header = header_of(tokenizers.source());
    folder.tokenizer_file = tokenizers.target->file_name();
    const bool has_own_source = !folder.pair_header().is_joint();
    if (has_own_source)
        folder.source_tokenizer_file = kSourceTokenizerPrefix + tokenizers.source().file_name();

    return make_data_folder(std::move(folder), system, [&](const std::string& partial, DataFolder& made) {
        PairSplitter splitter(options, tokenizers, made.pair_header(), partial, system);
        Meter meter(options.progress, "writing", scan.bytes);
        splitter.run(options.source, options.target, cut, meter);
        splitter.run(options.valid_source, options.valid_target, 0, meter);
        splitter.finish(made);
        meter.finish();
        const bool wants_valid = fraction > 0 || !options.valid_source.empty();
        if (made.train.empty() || (made.valid.empty() && wants_valid))
            throw DataError(
                text("prepare: no pair is left ", made.train.empty() ? "to train on" : "for validation",
                     ": found ", scan.pairs, " pairs and ", scan.valid_pairs,
                     " for validation, valid-fraction ", fraction, ", dropped: ", describe(made.dropped)));
        save_tokenizer(*tokenizers.target, partial, system);
        if (has_own_source) save_tokenizer(*tokenizers.own_source, partial, system, kSourceTokenizerPrefix);
        return made.valid.empty() ? std::vector<std::string>{}
                                  : std::vector<std::string>{kValidSourceName, kValidTargetName};
    });
}

}  // namespace skein
