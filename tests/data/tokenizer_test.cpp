#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>

#include "data/sha256.h"
#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::int32_t> ids;
    tokenizer.encode(text, ids);
    return ids;
}

std::vector<std::string> some_lines() {
    std::vector<std::string> lines;
    const std::string words[] = {"geese", "fly",   "in",  "a",     "skein", "over",
                                 "the",   "river", "and", "lakes", "north"};
    for (std::size_t i = 0; i < 400; ++i) {
        std::string line;
        for (std::size_t j = 0; j < 3 + i % 5; ++j)
            line += words[(i * 7 + j * j * 3 + i / 11) % 11] + (j % 4 ? " " : ", ");
        lines.push_back(line + (i % 3 ? "." : "!"));
    }
    return lines;
}

void round_trips_through_a_folder(const Tokenizer& tokenizer, std::string_view sample) {
    const TemporaryFolder folder;
    EXPECT_THROW(load_tokenizer(folder.path()), MissingError);
    save_tokenizer(tokenizer, folder.path());
    EXPECT_EQ(find_tokenizer_file(folder.path()), tokenizer.file_name());
    EXPECT_EQ(sha256_hex(read_file(folder / tokenizer.file_name())), sha256_of(tokenizer));
    const auto loaded = load_tokenizer(folder.path());
    EXPECT_EQ(loaded->name(), tokenizer.name());
    EXPECT_EQ(loaded->vocab_size(), tokenizer.vocab_size());
    EXPECT_EQ(loaded->end_of_document(), tokenizer.end_of_document());
    EXPECT_EQ(sha256_of(*loaded), sha256_of(tokenizer));
    EXPECT_EQ(ids_of(*loaded, sample), ids_of(tokenizer, sample));
    EXPECT_EQ(loaded->decode(ids_of(*loaded, sample)), sample);
}

TEST(Tokenizer, BytesAreTheirOwnIds) {
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    const auto plain = make_bytes_tokenizer(false), with_end = make_bytes_tokenizer(true);
    EXPECT_EQ(plain->vocab_size(), 256);
    EXPECT_FALSE(plain->end_of_document());
    EXPECT_EQ(with_end->vocab_size(), 257);
    EXPECT_EQ(with_end->end_of_document(), 256);
    EXPECT_EQ(ids_of(*plain, "\xff\x01"), (std::vector<std::int32_t>{255, 1}));
    EXPECT_EQ(with_end->decode(std::vector<std::int32_t>{65, 256, 66}), "AB");
    EXPECT_THROW(plain->decode(std::vector<std::int32_t>{256}), DataError);
    EXPECT_THROW(plain->decode(std::vector<std::int32_t>{-1}), DataError);
    EXPECT_NE(sha256_of(*plain), sha256_of(*with_end));
    round_trips_through_a_folder(*plain, all);
    round_trips_through_a_folder(*with_end, all);
}

TEST(Tokenizer, CharsAreTheRanksOfTheirCodePoints) {
    const auto chars = make_chars_tokenizer({0, '\n', '"', 'a', 0xFC, 0x2460, 0x1F600}, true);
    EXPECT_EQ(chars->vocab_size(), 8);
    EXPECT_EQ(chars->end_of_document(), 7);
    EXPECT_EQ(ids_of(*chars, "ü\na①😀"), (std::vector<std::int32_t>{4, 1, 3, 5, 6}));
    EXPECT_EQ(chars->decode(std::vector<std::int32_t>{3, 7, 3}), "aa");
    EXPECT_THROW(ids_of(*chars, "ab"), DataError);
    EXPECT_THROW(ids_of(*chars, "a\xff"), DataError);
    EXPECT_THROW(chars->decode(std::vector<std::int32_t>{8}), DataError);
    round_trips_through_a_folder(*chars, std::string_view("a\"ü\0①😀", 12));
}

TEST(Tokenizer, SentencePieceWithIdentityGivesEveryTextBack) {
    for (const char* type : {"bpe", "unigram"}) {
        const auto pieces = train_sentencepiece(some_lines(), {.vocab_size = 300, .type = type});
        EXPECT_EQ(pieces->vocab_size(), 300);
        EXPECT_EQ(pieces->end_of_document(), 2);
        for (const std::string_view sample :
             {"ﬁne ① Ｆｕｌｌ", "", " ", "\n", "  two  spaces  \n\n and lines\t\r\n", "geese fly",
              "never seen: Ω😀é", "<s></s>"})
            EXPECT_EQ(pieces->decode(ids_of(*pieces, sample)), sample);
        const std::string many = "geese fly in a skein\nover the lakes\n\n north";
        std::vector<std::int32_t> by_line;
        for (const char* line : {"geese fly in a skein\n", "over the lakes\n", "\n", " north"})
            pieces->encode(line, by_line);
        EXPECT_EQ(by_line, ids_of(*pieces, many));
        EXPECT_LT(by_line.size(), many.size());
        EXPECT_THROW(ids_of(*pieces, "\xff"), DataError);
        EXPECT_THROW(pieces->decode(std::vector<std::int32_t>{300}), DataError);
        round_trips_through_a_folder(*pieces, many);
    }
}

TEST(Tokenizer, SentencePieceNormalizesWhenAsked) {
    const auto pieces = train_sentencepiece(some_lines(), {.vocab_size = 300, .normalization = "nmt_nfkc"});
    EXPECT_EQ(pieces->decode(ids_of(*pieces, "ﬁne ① Ｆｕｌｌ")), "fine 1 Full");
    EXPECT_EQ(pieces->decode(ids_of(*pieces, "geese\nfly\n")), "geese fly");
}

TEST(Tokenizer, SentencePieceLearnsTheSameFromTheSameLines) {
    for (const char* type : {"bpe", "unigram"}) {
        const SentencePieceOptions options{.vocab_size = 295, .type = type};
        EXPECT_EQ(sha256_of(*train_sentencepiece(some_lines(), options)),
                  sha256_of(*train_sentencepiece(some_lines(), options)));
    }
}

TEST(Tokenizer, SentencePieceRefusesAVocabularyThatDoesNotFit) {
    for (const char* type : {"bpe", "unigram"})
        for (const std::int32_t vocab_size : {10, 30'000})
            EXPECT_THROW(train_sentencepiece(some_lines(), {.vocab_size = vocab_size, .type = type}),
                         ConfigError)
                << type << " " << vocab_size;
    EXPECT_THROW(train_sentencepiece(some_lines(), {.vocab_size = 300, .type = "words"}), ConfigError);
    EXPECT_THROW(train_sentencepiece(some_lines(), {.vocab_size = 300, .normalization = "none"}),
                 ConfigError);
    EXPECT_THROW(train_sentencepiece({}, {.vocab_size = 300}), ConfigError);
}

TEST(Tokenizer, ADamagedFileIsAnError) {
    const TemporaryFolder folder;
    for (const char* bytes :
         {"", "{", "[]", R"({"format": "other", "version": 1})",
          R"({"format": "skein-tokenizer", "version": 1, "kind": "words", "end_of_document": false})",
          R"({"format": "skein-tokenizer", "version": 1, "kind": "chars", "end_of_document": false})",
          R"({"format": "skein-tokenizer", "version": 1, "kind": "chars", "end_of_document": false,
                                  "characters": "ba"})"}) {
        write_file_atomic(FileSystem::real(), folder / "tokenizer.json", bytes);
        EXPECT_THROW(load_tokenizer(folder.path()), DataError) << bytes;
    }
    std::filesystem::remove(folder / "tokenizer.json");
    write_file_atomic(FileSystem::real(), folder / "tokenizer.model", "not a model");
    EXPECT_THROW(load_tokenizer(folder.path()), DataError);
}

}  // namespace
}  // namespace skein
