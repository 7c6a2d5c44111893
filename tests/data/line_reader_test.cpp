#include "data/line_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <vector>

#include "model/base/error.h"
#include "model/base/files.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

std::string put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
    return path;
}

std::string put_gzip(const std::string& path, std::string_view bytes) {
    const gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return path;
}

std::vector<std::string> lines_of(const std::string& path) {
    LineReader reader(path);
    std::vector<std::string> out;
    for (std::string line; reader.next(line);) out.push_back(line);
    EXPECT_EQ(reader.lines(), out.size());
    return out;
}

TEST(LineReader, GivesTheLinesOfPlainAndGzipFiles) {
    const TemporaryFolder folder;
    const std::vector<std::string> wanted{"one", "", "zwölf", " three "};
    EXPECT_EQ(lines_of(put(folder / "a", "one\n\nzwölf\r\n three ")), wanted);
    EXPECT_EQ(lines_of(put(folder / "a", "one\n\nzwölf\n three \n")), wanted);
    EXPECT_EQ(lines_of(put_gzip(folder / "b", "one\r\n\nzwölf\n three \n")), wanted);
    EXPECT_TRUE(lines_of(put(folder / "a", "")).empty());
    EXPECT_TRUE(lines_of(put_gzip(folder / "b", "")).empty());
    // Two gzip files one after the other are one, as gzip has it.
    const std::string parts =
        read_file(put_gzip(folder / "b", "one\n\nzw")) + read_file(put_gzip(folder / "c", "ölf\n three \n"));
    EXPECT_EQ(lines_of(put(folder / "d", parts)), wanted);
}

TEST(LineReader, LinesMayBeLongerThanItsBuffer) {
    const TemporaryFolder folder;
    const std::string line(1'000'000, 'x');
    const std::vector<std::string> wanted{line, "end", line};
    EXPECT_EQ(lines_of(put(folder / "a", line + "\nend\n" + line)), wanted);
    EXPECT_EQ(lines_of(put_gzip(folder / "b", line + "\nend\n" + line)), wanted);
}

TEST(LineReader, DamagedGzipIsAnErrorAndNotAShorterText) {
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += std::to_string(i * i) + "\n";
    const std::string bytes = read_file(put_gzip(folder / "a", text));
    for (std::size_t length = 20; length < bytes.size(); length += bytes.size() / 25)
        EXPECT_THROW(lines_of(put(folder / "a", std::string_view(bytes).substr(0, length))), DataError)
            << length;
    for (std::size_t at = 20; at < bytes.size(); at += bytes.size() / 25) {
        std::string flipped = bytes;
        flipped[at] = static_cast<char>(flipped[at] ^ 4);
        EXPECT_THROW(lines_of(put(folder / "a", flipped)), DataError) << at;
    }
}

TEST(LineReader, WhatIsNoTextIsAnErrorWithItsPlace) {
    const TemporaryFolder folder;
    try {
        lines_of(put(folder / "a",
                     "good\nb\xff"
                     "d\n"));
        ADD_FAILURE();
    } catch (const DataError& error) {
        EXPECT_EQ(std::string(error.what()), folder / "a" + ", line 2: byte 1 is not UTF-8");
    }
    EXPECT_THROW(lines_of(folder / "none"), MissingError);
    EXPECT_THROW(lines_of(folder.path()), IoError);
}

}  // namespace
}  // namespace skein
