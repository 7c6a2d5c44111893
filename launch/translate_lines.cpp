#include "launch/translate_lines.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <istream>
#include <optional>
#include <ostream>
#include <span>

#include "data/utf8.h"
#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {
namespace {

constexpr std::int64_t kNamedLines = 5;  // of each kind of notice

/// The lines of a stream, numbered from 1.
class Lines {
  public:
    explicit Lines(std::istream& in) : in_(in) {}

    /// The next line without its end; false behind the last.
    bool next(std::string& line) {
        line.clear();
        is_whole_ = true;
        int byte = next_byte();
        if (byte == kNoByte) return false;
        ++number_;
        for (; byte != kNoByte && byte != '\n'; byte = next_byte()) {
            if (line.size() < kLongestLine)
                line.push_back(static_cast<char>(byte));
            else
                is_whole_ = false;
        }
        if (!is_whole_) line.resize(whole_characters(line));
        if (line.ends_with('\r')) line.pop_back();
        if (const auto wrong = first_invalid_utf8(line))
            throw DataError(text("line ", number_, ": byte ", *wrong, " is not UTF-8"));
        return true;
    }
    std::int64_t number() const { return number_; }
    /// Whether the last line was not longer than kLongestLine.
    bool is_whole() const { return is_whole_; }

  private:
    static constexpr int kNoByte = std::streambuf::traits_type::eof();

    int next_byte() {
        try {
            return in_.rdbuf()->sbumpc();
        } catch (const std::ios_base::failure& failure) {
            throw IoError(text("read the input behind line ", number_, ": ", failure.what()));
        }
    }

    std::istream& in_;
    std::int64_t number_ = 0;
    bool is_whole_ = true;
};

/// Says the first few of one kind, and counts the others.
class Notices {
  public:
    Notices(std::string kind, const std::function<void(const std::string&)>& notice)
        : kind_(std::move(kind)), notice_(notice) {}
    void add(const std::string& line) {
        if (++count_ <= kNamedLines && notice_) notice_(line);
    }
    void finish() const {
        if (count_ > kNamedLines && notice_)
            notice_(text(kind_, ": ", count_ - kNamedLines, " more, ", count_, " in all"));
    }

  private:
    std::string kind_;
    const std::function<void(const std::string&)>& notice_;
    std::int64_t count_ = 0;
};

/// Line ends may stand in what a model writes as well.
std::string in_one_line(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
    return text;
}

/// Some lines, as they came: the sentences to be translated, and of each line which of them it is.
struct Chunk {
    std::vector<std::vector<std::int32_t>> sources;
    std::vector<std::optional<std::size_t>> lines;  // none: a blank one
};

class Translation {
  public:
    Translation(const EncoderDecoder& model, Stream& stream, const Tokenizer& source, const Tokenizer& target,
                std::istream& in, std::ostream& out, const TranslateOptions& options,
                const std::function<void(const std::string&)>& notice)
        : model_(model),
          stream_(stream),
          source_(source),
          target_(target),
          lines_(in),
          out_(out),
          options_(options),
          blank_("blank lines", notice),
          cut_("cut lines", notice) {
        options_.beam.begin = SentencePieceIds::kBegin;
        options_.beam.end = SentencePieceIds::kEnd;
        if (options_.lines < 1)
            throw ConfigError(
                text("translate: found ", options_.lines, " lines at a time, wanted 1 or more"));
    }

    void run() {
        for (Chunk chunk = read(); !chunk.lines.empty(); chunk = read()) {
            const auto results = beam_search(model_, stream_, chunk.sources, options_.beam);
            errno = 0;
            write(chunk, results);
            out_.flush();
            if (!out_)
                throw IoError(
                    text("write the translations", errno == 0 ? "" : text(": ", std::strerror(errno))));
        }
        blank_.finish();
        cut_.finish();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    /// The next lines; none behind the last, and behind one that cannot be read.
    Chunk read() {
        Chunk chunk;
        std::string line;
        while (static_cast<std::int64_t>(chunk.lines.size()) < options_.lines && next(line)) {
            SourceSentence sentence = encode_source(source_, line, model_.config().context);
            if (sentence.ids.empty()) {
                blank_.add(text("line ", lines_.number(), " is blank, and so is its translation"));
                chunk.lines.emplace_back();
                continue;
            }
            if (sentence.is_cut() || !lines_.is_whole())
                cut_.add(text("line ", lines_.number(), " is cut: with its end it has ",
                              lines_.is_whole() ? "" : "more than ", sentence.tokens,
                              " tokens, the model's context is ", model_.config().context));
            chunk.lines.emplace_back(chunk.sources.size());
            chunk.sources.push_back(std::move(sentence.ids));
        }
        return chunk;
    }

    /// What is wrong with a line is told when all lines before it are written.
    bool next(std::string& line) {
        if (failure_) return false;
        try {
            return lines_.next(line);
        } catch (const Error&) {
            failure_ = std::current_exception();
            return false;
        }
    }

    void write(const Chunk& chunk, const std::vector<std::vector<Hypothesis>>& results) {
        const Hypothesis nothing;
        for (const std::optional<std::size_t>& sentence : chunk.lines) {
            const std::span<const Hypothesis> all =
                sentence ? std::span<const Hypothesis>(results[*sentence]) : std::span(&nothing, 1);
            for (const Hypothesis& hypothesis : all) {
                const std::string translation = in_one_line(target_.decode(hypothesis.ids));
                if (options_.numbered)
                    out_ << written_ << " ||| " << translation << " ||| " << number_text(hypothesis.score)
                         << '\n';
                else
                    out_ << translation << '\n';
            }
            ++written_;
        }
    }

    const EncoderDecoder& model_;
    Stream& stream_;
    const Tokenizer &source_, &target_;
    Lines lines_;
    std::ostream& out_;
    TranslateOptions options_;
    Notices blank_, cut_;
    std::int64_t written_ = 0;  // lines of the input
    std::exception_ptr failure_;
};

}  // namespace

SourceSentence encode_source(const Tokenizer& tokenizer, std::string_view sentence, std::int64_t context) {
    SourceSentence out;
    if (is_blank(sentence)) return out;
    tokenizer.encode(sentence, out.ids);
    if (out.ids.empty()) return out;
    out.tokens = out.ids.size() + 1;
    out.ids.resize(std::min(out.ids.size(), static_cast<std::size_t>(context - 1)));
    out.ids.push_back(SentencePieceIds::kEnd);
    return out;
}

void translate_lines(const EncoderDecoder& model, Stream& stream, const Tokenizer& source,
                     const Tokenizer& target, std::istream& in, std::ostream& out,
                     const TranslateOptions& options, const std::function<void(const std::string&)>& notice) {
    Translation(model, stream, source, target, in, out, options, notice).run();
}

}  // namespace skein
