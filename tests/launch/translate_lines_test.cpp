#include "launch/translate_lines.h"

#include <set>
#include <sstream>
#include <streambuf>

#include "model/base/error.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein {
namespace {

constexpr std::int64_t kContext = 24;

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

/// Short sentences of a few letters.
std::vector<std::string> some_sentences(std::size_t count) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < count; ++i) {
        std::string sentence;
        for (std::size_t k = 0; k < 2 + i * 7 % 15; ++k) sentence += "abcdef "[(i * i + k * (i + 3)) % 7];
        out.push_back(sentence + "abcdef"[i % 6]);
    }
    return out;
}

class TranslateLines : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        tokenizer_ = train_sentencepiece(some_sentences(200), {.vocab_size = 280}).release();
        // a model of random weights: it writes anything, and never the same of two sentences
        ModelConfig config = test::small_pair_config();
        config.context = kContext;
        config.vocabulary = config.source_vocabulary = tokenizer_->vocab_size();
        model_ = new test::SmallPairModel(config);
    }
    static void TearDownTestSuite() {
        delete model_;
        delete tokenizer_;
    }

    static TranslateOptions options(std::int64_t lines = 1024, std::int64_t beams = 2) {
        TranslateOptions out;
        out.lines = lines;
        out.beam.beams = beams;
        out.beam.length_extra = 4;
        return out;
    }

    std::string translate(const std::string& input, const TranslateOptions& how = options(),
                          const Tokenizer& target = *tokenizer_) {
        notices_.clear();
        std::istringstream in(input);
        std::ostringstream out;
        translate_lines(model_->model, model_->stream, *tokenizer_, target, in, out, how,
                        [&](const std::string& line) { notices_.push_back(line); });
        return out.str();
    }

    static Tokenizer* tokenizer_;
    static test::SmallPairModel* model_;
    std::vector<std::string> notices_;
};
Tokenizer* TranslateLines::tokenizer_;
test::SmallPairModel* TranslateLines::model_;

std::string joined(const std::vector<std::string>& lines) {
    std::string out;
    for (const std::string& line : lines) out += line + "\n";
    return out;
}

TEST_F(TranslateLines, EachLineIsTheBeamSearchOfItsIdsAndTheEndToken) {
    const std::vector<std::string> sentences = some_sentences(9);
    const std::vector<std::string> found = lines_of(translate(joined(sentences)));
    ASSERT_EQ(found.size(), sentences.size());
    BeamOptions beam = options().beam;
    beam.begin = SentencePieceIds::kBegin, beam.end = SentencePieceIds::kEnd;
    std::size_t compared = 0;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
        std::vector<std::int32_t> ids;
        tokenizer_->encode(sentences[i], ids);
        ids.push_back(SentencePieceIds::kEnd);
        const std::string wanted =
            tokenizer_->decode(beam_search(model_->model, model_->stream, {ids}, beam)[0][0].ids);
        if (wanted.find_first_of("\r\n") != std::string::npos) continue;
        EXPECT_EQ(found[i], wanted) << i;
        ++compared;
    }
    EXPECT_GE(compared, 7u);
    EXPECT_TRUE(notices_.empty());
}

TEST_F(TranslateLines, ALineKeepsItsTranslationInAnyCompanyAndChunk) {
    const std::vector<std::string> sentences = some_sentences(12);
    const std::vector<std::string> all = lines_of(translate(joined(sentences)));
    ASSERT_EQ(all.size(), sentences.size());
    EXPECT_GT(std::set<std::string>(all.begin(), all.end()).size(), 6u) << "the model tells sentences apart";
    for (const std::int64_t lines : {1, 5})
        EXPECT_EQ(lines_of(translate(joined(sentences), options(lines))), all) << lines << " at a time";
    std::vector<std::string> backwards(sentences.rbegin(), sentences.rend());
    std::vector<std::string> found = lines_of(translate(joined(backwards)));
    std::ranges::reverse(found);
    EXPECT_EQ(found, all);
}

TEST_F(TranslateLines, LineEndsAreUnixOrDosAndTheLastMayLackIts) {
    const std::string plain = translate("ab cd\nef\n");
    EXPECT_EQ(translate("ab cd\r\nef\r\n"), plain);
    EXPECT_EQ(translate("ab cd\nef"), plain);
    EXPECT_EQ(lines_of(plain).size(), 2u);
    EXPECT_EQ(translate(""), "");
    EXPECT_TRUE(notices_.empty());
}

TEST_F(TranslateLines, BlankLinesStayWhereTheyAreAndAreSaid) {
    const std::string all = translate("\nab\n \t\r\ncd\n\n", options(2));
    const std::string ab = translate("ab\n"), cd = translate("cd\n");
    EXPECT_EQ(all, "\n" + ab + "\n" + cd + "\n");
    translate("\nab\n \t\r\ncd\n\n", options(2));
    ASSERT_EQ(notices_.size(), 3u);
    EXPECT_EQ(notices_[0], "line 1 is blank, and so is its translation");
    EXPECT_EQ(notices_[2], "line 5 is blank, and so is its translation");

    EXPECT_EQ(translate(std::string(1000, '\n')), std::string(1000, '\n'));
    ASSERT_EQ(notices_.size(), 6u) << "a thousand blank lines are not a thousand notices";
    EXPECT_EQ(notices_[5], "blank lines: 995 more, 1000 in all");
}

TEST_F(TranslateLines, ALineThatIsTooLongIsCutToTheContextAndSaid) {
    const std::string whole(
        40, 'q');  // a letter that the vocabulary was not learned from has one byte, one token
    std::vector<std::int32_t> ids;
    tokenizer_->encode(whole, ids);
    ASSERT_GT(ids.size(), static_cast<std::size_t>(kContext));
    const SourceSentence sentence = encode_source(*tokenizer_, whole, kContext);
    EXPECT_TRUE(sentence.is_cut());
    EXPECT_EQ(sentence.ids.size(), static_cast<std::size_t>(kContext));
    EXPECT_EQ(sentence.ids.back(), SentencePieceIds::kEnd);
    EXPECT_EQ(sentence.tokens, ids.size() + 1);

    const std::string found = translate("ab\n" + whole + "\n");
    EXPECT_EQ(lines_of(found).size(), 2u);
    ASSERT_EQ(notices_.size(), 1u);
    EXPECT_EQ(notices_[0], text("line 2 is cut: with its end it has ", ids.size() + 1,
                                " tokens, the model's context is ", kContext));
    // just as long as fits: it is not cut
    const std::string fits(static_cast<std::size_t>(kContext) - 1, 'q');
    EXPECT_EQ(translate("ab\n" + fits + "\n"), found) << "what is cut off plays no part";
    EXPECT_TRUE(notices_.empty());
}

TEST_F(TranslateLines, ALineWithoutBoundIsNotHeldWhole) {
    const std::string endless(kLongestLine + 100, 'q');
    EXPECT_EQ(lines_of(translate("ab\n" + endless + "\ncd\n")).size(), 3u);
    ASSERT_EQ(notices_.size(), 1u);
    EXPECT_TRUE(notices_[0].starts_with("line 2 is cut: with its end it has more than ")) << notices_[0];
    EXPECT_EQ(translate(std::string(kLongestLine - 1, ' ') + "\xc3\xa4"
                                                             "ab\n"),
              "\n")
        << "cut inside a character: no error";
}

TEST_F(TranslateLines, TextThatIsNotUtf8NamesItsLine) {
    try {
        translate("ab\ncaf\xe9\n");
        FAIL() << "no error";
    } catch (const DataError& error) {
        EXPECT_STREQ(error.what(), "line 2: byte 3 is not UTF-8");
    }
}

TEST_F(TranslateLines, WhatComesBeforeALineThatIsNoTextIsWritten) {
    const std::string wanted = translate("ab\n\ncd ef\n");
    for (const std::int64_t lines : {1, 2, 1024}) {
        std::istringstream in("ab\n\ncd ef\ncaf\xe9\nab\n");
        std::ostringstream out;
        EXPECT_THROW(translate_lines(model_->model, model_->stream, *tokenizer_, *tokenizer_, in, out,
                                     options(lines), {}),
                     DataError);
        EXPECT_EQ(out.str(), wanted) << lines << " at a time";
    }
}

TEST_F(TranslateLines, TheBestOfEachLineAreNumberedAndFallInScore) {
    TranslateOptions best = options(2, 3);
    best.beam.best = 3;
    best.numbered = true;
    const std::vector<std::string> lines = lines_of(translate("ab\n\ncd ef\n", best));
    ASSERT_EQ(lines.size(), 7u);
    EXPECT_EQ(lines[3], "1 |||  ||| 0");
    double last = 0.0;
    for (const std::size_t i : {0u, 1u, 2u}) {
        EXPECT_TRUE(lines[i].starts_with("0 ||| ")) << lines[i];
        const double score = std::stod(lines[i].substr(lines[i].rfind(" ||| ") + 5));
        EXPECT_LT(score, last);
        last = score;
        EXPECT_TRUE(lines[i + 4].starts_with("2 ||| ")) << lines[i + 4];
    }
    TranslateOptions one = options(2, 3);
    EXPECT_EQ(lines_of(translate("ab\n", one))[0], lines[0].substr(6, lines[0].rfind(" ||| ") - 6));
}

/// Writes a text of two lines, whatever the ids.
class TwoLines : public Tokenizer {
  public:
    std::string name() const override { return "two lines"; }
    std::int32_t vocab_size() const override { return 1; }
    std::optional<std::int32_t> end_of_document() const override { return std::nullopt; }
    bool wants_utf8() const override { return true; }
    void encode(std::string_view, std::vector<std::int32_t>&) const override {}
    std::string decode(std::span<const std::int32_t>) const override { return "one\ntwo\r"; }
    std::string file_name() const override { return ""; }
    const std::string& file_bytes() const override { return bytes_; }

  private:
    std::string bytes_;
};

TEST_F(TranslateLines, ATranslationIsOneLineWhateverTheModelWrites) {
    EXPECT_EQ(translate("ab\ncd\n", options(), TwoLines()), "one two \none two \n");
}

/// Takes or gives nothing, as a full disk and a broken one do.
class Broken : public std::streambuf {
  protected:
    int_type overflow(int_type) override { return traits_type::eof(); }
    int_type underflow() override { throw std::ios_base::failure("broken"); }
};

TEST_F(TranslateLines, InputAndOutputThatFailAreErrors) {
    Broken broken;
    std::ostream full(&broken);
    std::istringstream in("ab\n");
    EXPECT_THROW(
        translate_lines(model_->model, model_->stream, *tokenizer_, *tokenizer_, in, full, options(), {}),
        IoError);
    std::istream unreadable(&broken);
    std::ostringstream out;
    EXPECT_THROW(translate_lines(model_->model, model_->stream, *tokenizer_, *tokenizer_, unreadable, out,
                                 options(), {}),
                 IoError);
}

TEST_F(TranslateLines, OptionsOutOfRangeAreRefused) {
    EXPECT_THROW(translate("ab\n", options(0)), ConfigError);
    EXPECT_THROW(translate("ab\n", options(1, 0)), ConfigError);
}

}  // namespace
}  // namespace skein
