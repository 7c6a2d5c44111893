#include "data/prepare.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

std::string put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
    return path;
}

std::string sample_text(int lines) {
    const std::string words[] = {"geese", "fly",   "in",  "a",     "skein", "over",
                                 "the",   "river", "ünd", "lakes", "north"};
    std::string text;
    for (int i = 0; i < lines; ++i) {
        for (int j = 0; j < 4 + i % 3; ++j)
            text += words[(i * 7 + j * j * 3 + i / 11) % 11] + (j % 3 ? " " : ", ");
        text += i % 9 == 8 ? "end.\n\n" : "end.\n";
    }
    return text;
}

/// What the shards decode to, the end of each document as '|'.
std::string decoded(const DataFolder& folder, const std::vector<ShardEntry>& shards) {
    const auto tokenizer = load_tokenizer(folder.path);
    const TokenStream stream(folder.path, shards, folder.header);
    std::vector<std::int32_t> ids(stream.tokens()), part;
    stream.read(0, ids);
    std::string out;
    for (const std::int32_t id : ids) {
        if (folder.documents == "none" || id != tokenizer->end_of_document()) {
            part.push_back(id);
            continue;
        }
        out += tokenizer->decode(part) + "|";
        part.clear();
    }
    return out + tokenizer->decode(part);
}

PrepareOptions options_for(const TemporaryFolder& folder, const std::string& tokenizer) {
    PrepareOptions options;
    options.text = {put(folder / "text", sample_text(300))};
    options.tokenizer = tokenizer;
    options.sentencepiece.vocab_size = 310;
    options.out = folder / "data";
    options.shard_tokens = 3000;
    return options;
}

TEST(Prepare, TheFirstNineTenthsOfTheCharactersTrainAndTheRestValidates) {
    const std::string text = sample_text(300);
    for (const char* tokenizer : {"bytes", "chars", "sentencepiece"}) {
        const TemporaryFolder folder;
        const DataFolder data = prepare_stream(options_for(folder, tokenizer));
        const std::string train = decoded(data, data.train), valid = decoded(data, data.valid);
        EXPECT_TRUE(train + valid == text) << tokenizer;
        EXPECT_EQ(read_file(folder / "data/valid.txt"), valid);
        std::size_t cut = text.size() * 9 / 10;
        if (std::string_view(tokenizer) != "bytes") {
            const auto characters = [](std::string_view part) {
                return std::count_if(part.begin(), part.end(), [](char c) { return (c & 0xC0) != 0x80; });
            };
            EXPECT_EQ(characters(train), characters(text) * 9 / 10);
        } else {
            EXPECT_EQ(train.size(), cut);
        }
        EXPECT_EQ(data.header.tokenizer, tokenizer);
        EXPECT_TRUE(verify_data_folder(data.path).faults.empty());
    }
}

TEST(Prepare, DocumentsAreClosedAndSplitWhole) {
    for (const char* tokenizer : {"bytes", "chars", "sentencepiece"}) {
        const TemporaryFolder folder;
        PrepareOptions options = options_for(folder, tokenizer);
        options.documents = Documents::kLine;
        std::string lines = sample_text(300);
        for (std::size_t at; (at = lines.find("\n\n")) != std::string::npos;) lines.erase(at, 1);
        std::replace(lines.begin(), lines.end(), '\n', '|');
        const DataFolder data = prepare_stream(options);
        const std::string train = decoded(data, data.train), valid = decoded(data, data.valid);
        EXPECT_TRUE(train + valid == lines) << tokenizer;
        EXPECT_EQ(train.back(), '|');
        EXPECT_NEAR(static_cast<double>(train.size()), 0.9 * static_cast<double>(lines.size()),
                    60);  // a line
        std::string raw = read_file(folder / "data/valid.txt");
        std::replace(raw.begin(), raw.end(), '\n', '|');
        EXPECT_EQ(raw, valid);
        std::uint64_t documents = 0;
        for (const auto& shard : data.train) documents += shard.documents;
        for (const auto& shard : data.valid) documents += shard.documents;
        EXPECT_EQ(documents, 300u);
    }
}

TEST(Prepare, FilesAreDocumentsAndTheOneAtTheCutIsDivided) {
    const TemporaryFolder folder;
    PrepareOptions options = options_for(folder, "chars");
    options.text = {put(folder / "a", "aaaa"), put(folder / "b", "bbbbbb")};
    options.documents = Documents::kFile;
    options.valid_fraction = 0.2;
    DataFolder data = prepare_stream(options);
    EXPECT_EQ(decoded(data, data.train), "aaaa|bbbb|");
    EXPECT_EQ(decoded(data, data.valid), "bb|");
    options.valid_fraction = 0.6;  // exactly between the files
    data = prepare_stream(options);
    EXPECT_EQ(decoded(data, data.train), "aaaa|");
    EXPECT_EQ(decoded(data, data.valid), "bbbbbb|");
    EXPECT_EQ(data.header.vocab_size, 3);
    EXPECT_TRUE(verify_data_folder(data.path).faults.empty());
}

TEST(Prepare, ValidationTextOfItsOwnIsAllValidation) {
    const TemporaryFolder folder;
    PrepareOptions options = options_for(folder, "chars");
    options.text = {put(folder / "a", "abab"), put(folder / "b", "ba\n")};
    options.valid_text = {put(folder / "c", "cab")};
    DataFolder data = prepare_stream(options);
    EXPECT_EQ(decoded(data, data.train), "ababba\n");
    EXPECT_EQ(decoded(data, data.valid), "cab");
    EXPECT_EQ(data.header.vocab_size, 4);  // validation text counts for the vocabulary
    options.valid_fraction = 0.5;
    EXPECT_THROW(prepare_stream(options), ConfigError);
    options.valid_text.clear();
    options.valid_fraction = 0;
    data = prepare_stream(options);
    EXPECT_TRUE(data.valid.empty());
    EXPECT_FALSE(std::filesystem::exists(folder / "data/valid.txt"));  // of the folder that was replaced
    EXPECT_TRUE(verify_data_folder(data.path).faults.empty());
}

std::map<std::string, std::string> all_bytes(const std::string& folder) {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) out[entry.path().filename().string()] = read_file(entry.path().string());
    return out;
}

TEST(Prepare, TheSameTextMakesTheSameBytes) {
    for (const char* tokenizer : {"bytes", "chars", "sentencepiece"}) {
        const TemporaryFolder folder;
        PrepareOptions options = options_for(folder, tokenizer);
        options.documents = Documents::kBlankLine;
        prepare_stream(options);
        options.out = folder / "again";
        prepare_stream(options);
        EXPECT_TRUE(all_bytes(folder / "data") == all_bytes(folder / "again")) << tokenizer;
    }
}

TEST(Prepare, ReportsProgressToTheEnd) {
    const TemporaryFolder folder;
    PrepareOptions options = options_for(folder, "chars");
    options.text = {put(folder / "text", sample_text(300'000))};
    options.shard_tokens = 100'000'000;
    std::vector<PrepareProgress> seen;
    options.progress = [&](const PrepareProgress& progress) { seen.push_back(progress); };
    prepare_stream(options);
    ASSERT_GE(seen.size(), 6u);  // the start, the end and something between, for reading and for writing
    for (const PrepareProgress& progress : seen) EXPECT_LE(progress.done, progress.total);
    EXPECT_EQ(seen.front().phase, "reading");
    EXPECT_EQ(seen.back().phase, "writing");
    EXPECT_EQ(seen.back().done, file_size(folder / "text"));
}

TEST(Prepare, BadInputIsAnErrorAndLeavesNoFolder) {
    const TemporaryFolder folder;
    const PrepareOptions good = options_for(folder, "chars");
    const auto with = [&](const std::string& bytes, const std::string& tokenizer = "chars") {
        PrepareOptions options = good;
        options.text = {put(folder / "bad", bytes)};
        options.tokenizer = tokenizer;
        return options;
    };
    PrepareOptions missing = good;
    missing.text.push_back(folder / "none");
    EXPECT_THROW(prepare_stream(missing), MissingError);
    EXPECT_THROW(prepare_stream(with("")), DataError);
    EXPECT_THROW(prepare_stream(with("ab\xff")), DataError);
    EXPECT_THROW(prepare_stream(with("ab\xff", "sentencepiece")), DataError);
    EXPECT_THROW(prepare_stream(with("ab", "sentencepiece")), ConfigError);  // no 310 pieces in that
    EXPECT_THROW(prepare_stream(with("a")), DataError);                      // nothing to train on
    PrepareOptions one_document = with("one line\n");
    one_document.documents = Documents::kLine;
    EXPECT_THROW(prepare_stream(one_document), DataError);  // nothing for validation
    PrepareOptions only_ends = with("\n\n\n");
    only_ends.documents = Documents::kLine;
    EXPECT_THROW(prepare_stream(only_ends), DataError);
    PrepareOptions odd = good;
    odd.tokenizer = "words";
    EXPECT_THROW(prepare_stream(odd), ConfigError);
    odd = good;
    odd.valid_fraction = 1.0;
    EXPECT_THROW(prepare_stream(odd), ConfigError);
    odd = good;
    odd.text.clear();
    EXPECT_THROW(prepare_stream(odd), ConfigError);
    EXPECT_THROW(open_data_folder(good.out), MissingError);
}

TEST(Prepare, WhatSkeinDidNotWriteIsNotReplaced) {
    const TemporaryFolder folder;
    const PrepareOptions options = options_for(folder, "chars");
    std::filesystem::create_directory(options.out);
    for (const char* name : {"train-00000.h5", "valid.txt", "tokenizer.model"}) {
        put(options.out + "/" + name, "mine");
        EXPECT_THROW(prepare_stream(options), ConfigError);
        EXPECT_EQ(read_file(options.out + "/" + name), "mine");
        std::filesystem::remove(options.out + "/" + name);
    }
    put(options.out + "/notes", "mine");
    prepare_stream(options);
    EXPECT_EQ(read_file(options.out + "/notes"), "mine");
}

/// Refuses one call of all.
struct FaultySystem : FileSystem {
    int fail_at = -1, calls = 0;
    bool fails() {
        errno = ENOSPC;
        return calls++ == fail_at;
    }
    int open(const char* path, int flags, mode_t mode) override {
        return fails() ? -1 : FileSystem::open(path, flags, mode);
    }
    ssize_t write(int descriptor, const void* bytes, std::size_t count) override {
        return fails() ? -1 : FileSystem::write(descriptor, bytes, count);
    }
    int fsync(int) override {
        return fails() ? -1 : 0;
    }  // not a real one: there are hundreds, and nothing crashes
    int rename(const char* from, const char* to) override {
        return fails() ? -1 : FileSystem::rename(from, to);
    }
    int unlink(const char* path) override { return fails() ? -1 : FileSystem::unlink(path); }
    int mkdir(const char* path, mode_t mode) override { return fails() ? -1 : FileSystem::mkdir(path, mode); }
    int before_library_write(const char*) override { return fails() ? -1 : 0; }
};

TEST(Prepare, AFailureAtAnyCallLeavesTheOldFolderOrOneThatIsRefused) {
    const TemporaryFolder folder;
    PrepareOptions old = options_for(folder, "bytes"), fresh = options_for(folder, "chars");
    old.out = folder / "old";
    prepare_stream(old);
    int refused = 0, kept = 0, fail_at = 0;
    for (bool failed = true; failed; ++fail_at) {
        std::filesystem::remove_all(fresh.out);
        std::filesystem::copy(old.out, fresh.out);
        FaultySystem system;
        system.fail_at = fail_at;
        failed = false;
        try {
            prepare_stream(fresh, system);
        } catch (const IoError&) {
            failed = true;
        }
        try {
            const DataFolder found = open_data_folder(fresh.out);
            EXPECT_TRUE(verify_data_folder(fresh.out).faults.empty());
            if (!failed) {
                EXPECT_EQ(found.header.tokenizer, "chars");
            }
            if (failed) ++kept;
        } catch (const DataError&) {
            EXPECT_TRUE(failed);
            ++refused;
        }
        EXPECT_FALSE(std::filesystem::exists(fresh.out + "/prepare.partial"));
    }
    EXPECT_GT(kept, 40);    // everything up to the moving
    EXPECT_GT(refused, 5);  // in the middle of it
    prepare_stream(fresh);
}

}  // namespace
}  // namespace skein
