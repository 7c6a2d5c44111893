#include "data/documents.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "model/base/files.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

std::string put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
    return path;
}

/// Each document's text with '|' behind it; text that no end follows stands at the end.
std::string joined(const std::vector<std::string>& files, Documents documents) {
    std::string out;
    read_documents(files, documents, true, [&](std::string_view text, bool ends) {
        out += text;
        if (ends) out += '|';
    });
    return out;
}

TEST(Documents, AreWhatTheirNameSays) {
    const TemporaryFolder folder;
    const std::string a = put(folder / "a", "one\ntwo\n\n\nthree\nfour\n"),
                      b = put(folder / "b", "\nfive\r\n\r\nsix");
    EXPECT_EQ(joined({a, b}, Documents::kNone), "one\ntwo\n\n\nthree\nfour\n\nfive\r\n\r\nsix");
    EXPECT_EQ(joined({a, b}, Documents::kFile), "one\ntwo\n\n\nthree\nfour\n|\nfive\r\n\r\nsix|");
    EXPECT_EQ(joined({a, b}, Documents::kLine), "one|two|three|four|five|six|");
    EXPECT_EQ(joined({a, b}, Documents::kBlankLine), "one\ntwo|three\nfour|five\r|six|");
    const std::string json = put(folder / "c",
                                 "{\"text\": \"one\\ntwo ü\"}\n\n{\"id\": 3, \"text\": \"three\"}\r\n"
                                 "{\"text\": \"\"}\n{\"text\": \"four\"}");
    EXPECT_EQ(joined({json}, Documents::kJsonLines), "one\ntwo ü|three|four|");
}

TEST(Documents, NamesRoundTripAndOthersAreRefused) {
    for (const char* name : {"none", "file", "line", "blank-line", "jsonl"})
        EXPECT_EQ(name_of(documents_from(name)), name);
    EXPECT_THROW(documents_from("lines"), ConfigError);
}

TEST(Documents, LongTextsComeInPiecesOfWholeLinesOrCharacters) {
    const TemporaryFolder folder;
    std::string lines, one_line;
    while (lines.size() < 5'000'000) lines += "a line of some length, " + std::to_string(lines.size()) + "\n";
    while (one_line.size() < 5'000'000)
        one_line += "①";  // three bytes: no power of two is between characters
    put(folder / "lines", lines);
    put(folder / "one", one_line);
    std::string joined_lines, joined_one;
    std::size_t longest = 0;
    read_text(folder / "lines", true, [&](std::string_view piece) {
        EXPECT_EQ(piece.back(), '\n');
        joined_lines += piece;
        longest = std::max(longest, piece.size());
    });
    read_text(folder / "one", true, [&](std::string_view piece) {
        EXPECT_EQ(piece.size() % 3, 0u);
        joined_one += piece;
        longest = std::max(longest, piece.size());
    });
    EXPECT_TRUE(joined_lines == lines);
    EXPECT_TRUE(joined_one == one_line);
    EXPECT_LE(longest, std::size_t{2} << 20);
    EXPECT_TRUE(joined({folder / "one"}, Documents::kLine) == one_line + "|");
    EXPECT_TRUE(joined({folder / "one"}, Documents::kBlankLine) == one_line + "|");
}

std::string message_of(const std::string& path, Documents documents) {
    try {
        joined({path}, documents);
    } catch (const DataError& error) {
        return error.what();
    }
    return "";
}

TEST(Documents, ErrorsNameTheFileAndThePlace) {
    const TemporaryFolder folder;
    EXPECT_THROW(joined({folder / "none"}, Documents::kNone), MissingError);
    EXPECT_EQ(message_of(put(folder / "empty", ""), Documents::kNone),
              folder / "empty: is empty, wanted text");
    std::string text;
    while (text.size() < 2'500'000) text += "good text\n";
    const std::string at = std::to_string(text.size() + 3);
    EXPECT_EQ(message_of(put(folder / "bad", text + "ab\n\xff" + text), Documents::kNone),
              folder / ("bad: the byte at offset " + at + " is not UTF-8"));
    EXPECT_EQ(message_of(put(folder / "cut", "ab\xc3"), Documents::kLine),
              folder / "cut: the byte at offset 2 is not UTF-8");
    for (const char* line : {"{", "3", "{\"txt\": \"a\"}", "{\"text\": 3}"})
        EXPECT_EQ(
            message_of(put(folder / "json", std::string("{\"text\": \"a\"}\n") + line), Documents::kJsonLines)
                .find(folder / "json, line 2: wanted a JSON object"),
            0u)
            << line;
    std::string bytes;
    read_text(folder / "cut", false, [&](std::string_view piece) { bytes += piece; });
    EXPECT_EQ(bytes, "ab\xc3");
}

}  // namespace
}  // namespace skein
