#include "data/prepare.h"

#include <algorithm>
#include <cmath>

#include "data/utf8.h"
#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kValidTextName = "valid.txt";

/// What one reading of the text tells.
struct Scan {
    std::uint64_t units = 0, bytes = 0, lines = 0;  // of the text; units are characters, or bytes
    std::uint64_t valid_bytes = 0;
    std::vector<unsigned char> has_code_point = std::vector<unsigned char>(0x110000);
};

bool wants_utf8(const PrepareOptions& options) {
    return options.tokenizer != "bytes";
}

std::uint64_t units_of(std::string_view piece, bool utf8) {
    return utf8 ? count_characters(piece) : piece.size();
}

Scan scan_text(const PrepareOptions& options) {
    const bool utf8 = wants_utf8(options), is_chars = options.tokenizer == "chars";
    std::uint64_t total = 0;
    for (const auto* files : {&options.text, &options.valid_text})
        for (const std::string& path : *files) total += file_size(path);
    Meter meter(options.progress, "reading", total);
    Scan scan;
    const auto look = [&](std::string_view piece) {
        meter.add(piece.size());
        if (is_chars)
            for (std::string_view rest = piece; !rest.empty();)
                scan.has_code_point[take_code_point(rest)] = true;
    };
    read_documents(options.text, options.documents, utf8, [&](std::string_view piece, bool ends) {
        look(piece);
        scan.units += units_of(piece, utf8);
        scan.bytes += piece.size();
        scan.lines +=
            static_cast<std::uint64_t>(std::count(piece.begin(), piece.end(), '\n')) + (ends ? 1 : 0);
        scan.lines += piece.size() / kLongestSentence;
    });
    read_documents(options.valid_text, options.documents, utf8, [&](std::string_view piece, bool) {
        look(piece);
        scan.valid_bytes += piece.size();
    });
    meter.finish();
    if (scan.bytes == 0) throw DataError(text(options.text.front(), ": has no text in it"));
    return scan;
}

/// Lines of the part of the text that trains, evenly spread when there are too many.
std::vector<std::string> sample_lines(const PrepareOptions& options, const Scan& scan, std::uint64_t cut) {
    LineSample lines(scan.lines, scan.bytes);
    std::uint64_t position = 0;
    Meter meter(options.progress, "learning the vocabulary", 0);
    read_documents(options.text, options.documents, true, [&](std::string_view piece, bool) {
        const std::uint64_t start = position;
        position += count_characters(piece);
        if (start >= cut) return;
        if (position > cut) piece = piece.substr(0, byte_of_character(piece, cut - start));
        while (!piece.empty()) {
            const std::size_t line_end = piece.find('\n');
            std::size_t count = std::min(line_end, piece.size());
            if (count > kLongestSentence) {  // at a space if there is one, else between characters
                count = whole_characters(piece.substr(0, kLongestSentence));
                const std::size_t space = piece.substr(0, count).rfind(' ');
                if (space != std::string_view::npos && space > 0) count = space;
            }
            lines.offer(piece.substr(0, count));
            piece.remove_prefix(count + (count == line_end ? 1 : 0));
        }
    });
    return lines.take();
}

std::unique_ptr<Tokenizer> make_tokenizer(const PrepareOptions& options, const Scan& scan,
                                          std::uint64_t cut) {
    const bool with_end = options.documents != Documents::kNone;
    if (options.tokenizer == "bytes") return make_bytes_tokenizer(with_end);
    if (options.tokenizer == "sentencepiece")
        return train_sentencepiece(sample_lines(options, scan, cut), options.sentencepiece);
    std::vector<std::uint32_t> code_points;
    for (std::uint32_t c = 0; c < scan.has_code_point.size(); ++c)
        if (scan.has_code_point[c] != 0) code_points.push_back(c);
    return make_chars_tokenizer(code_points, with_end);
}

/// Encodes documents into training and validation shards, and keeps the raw validation text.
class Splitter {
  public:
    Splitter(const PrepareOptions& options, const Tokenizer& tokenizer, const ShardHeader& header,
             const std::string& folder, FileSystem& system)
        : options_(options),
          tokenizer_(tokenizer),
          cuts_documents_(options.documents == Documents::kNone || options.documents == Documents::kFile),
          train_(folder, "train", header, options.documents != Documents::kNone, options.shard_tokens,
                 system),
          valid_(folder, "valid", header, options.documents != Documents::kNone, options.shard_tokens,
                 system),
          raw_(system, folder + "/" + kValidTextName) {}

    /// Text from `cut` units on, counted over these files, validates.
    void run(const std::vector<std::string>& files, std::uint64_t cut, Meter& meter) {
        const bool utf8 = tokenizer_.wants_utf8();
        std::uint64_t position = 0;
        bool is_start = true;  // of a document
        bool is_valid = false;
        read_documents(files, options_.documents, utf8, [&](std::string_view piece, bool ends) {
            meter.add(piece.size());
            const std::uint64_t start = position;
            position += units_of(piece, utf8);
            if (!piece.empty()) {
                if (cuts_documents_ && start < cut && position > cut) {
                    const std::size_t byte = utf8 ? byte_of_character(piece, cut - start) : cut - start;
                    put(piece.substr(0, byte), false);
                    end_document(false);
                    piece.remove_prefix(byte);
                    is_valid = true;
                } else if (cuts_documents_ || is_start) {
                    if (cuts_documents_ && !is_start && !is_valid && start >= cut) end_document(false);
                    is_valid = start >= cut;
                }
                put(piece, is_valid);
                is_start = false;
            }
            if (ends) {
                end_document(is_valid);
                is_start = true;
            }
        });
    }

    std::vector<ShardEntry> finish_train() { return train_.finish(); }
    std::vector<ShardEntry> finish_valid() {
        raw_.finish();
        return valid_.finish();
    }

  private:
    void put(std::string_view piece, bool is_valid) {
        ids_.clear();
        tokenizer_.encode(piece, ids_);
        (is_valid ? valid_ : train_).append(ids_);
        if (is_valid) raw_.write(piece);
    }
    void end_document(bool is_valid) {
        if (options_.documents == Documents::kNone) return;
        const std::int32_t end = tokenizer_.end_of_document().value();
        ShardWriter& writer = is_valid ? valid_ : train_;
        writer.append({&end, 1});
        writer.end_document();
        if (is_valid && !cuts_documents_)
            raw_.write(options_.documents == Documents::kBlankLine ? "\n\n" : "\n");
    }

    const PrepareOptions& options_;
    const Tokenizer& tokenizer_;
    bool cuts_documents_;
    ShardWriter train_, valid_;
    FileWriter raw_;
    std::vector<std::int32_t> ids_;
};

void check_options(const PrepareOptions& options) {
    if (options.text.empty()) throw ConfigError("text: found no file, wanted at least one");
    if (options.out.empty()) throw ConfigError("out: found no folder, wanted one to write to");
    if (options.valid_fraction && !options.valid_text.empty())
        throw ConfigError("valid-fraction: found beside valid-text, wanted one of the two");
    require_fraction(options.valid_fraction.value_or(0));
    if (options.tokenizer != "bytes" && options.tokenizer != "chars" && options.tokenizer != "sentencepiece")
        throw ConfigError(
            text("tokenizer: found \"", options.tokenizer, "\", wanted bytes, chars or sentencepiece"));
    if (options.shard_tokens == 0) throw ConfigError("shard-tokens: found 0, wanted at least 1");
    require_replaceable(options.out);
}

}  // namespace

DataFolder prepare_stream(const PrepareOptions& options, FileSystem& system) {
    check_options(options);
    const Scan scan = scan_text(options);
    const double fraction = options.valid_fraction.value_or(options.valid_text.empty() ? 0.1 : 0.0);
    const auto cut =
        static_cast<std::uint64_t>(std::floor(static_cast<double>(scan.units) * (1.0 - fraction)));
    const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options, scan, cut);

    DataFolder folder;
    folder.path = options.out;
    folder.header = {tokenizer->vocab_size(), tokenizer->name(), sha256_of(*tokenizer)};
    folder.documents = name_of(options.documents);
    folder.tokenizer_file = tokenizer->file_name();

    return make_data_folder(std::move(folder), system, [&](const std::string& partial, DataFolder& made) {
        Splitter splitter(options, *tokenizer, made.header, partial, system);
        Meter meter(options.progress, "writing", scan.bytes + scan.valid_bytes);
        splitter.run(options.text, cut, meter);
        splitter.run(options.valid_text, 0, meter);
        made.train = splitter.finish_train();
        made.valid = splitter.finish_valid();
        meter.finish();
        if (made.train.empty())
            throw DataError(text("prepare: no text is left to train on (", scan.units,
                                 " characters, valid-fraction ", fraction, ")"));
        if (made.valid.empty() && (fraction > 0 || !options.valid_text.empty()))
            throw DataError(
                text("prepare: no text is left for validation (", scan.units,
                     " characters): give valid-text, another valid-fraction, or valid-fraction 0"));
        save_tokenizer(*tokenizer, partial, system);
        return made.valid.empty() ? std::vector<std::string>{} : std::vector<std::string>{kValidTextName};
    });
}

}  // namespace skein
