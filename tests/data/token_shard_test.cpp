#include "data/token_shard.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <numeric>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

const ShardHeader kHeader{1000, "chars", std::string(64, 'a')};

std::vector<std::int32_t> counted(std::size_t count, std::int32_t first = 0) {
    std::vector<std::int32_t> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = (first + static_cast<std::int32_t>(i)) % 1000;
    return out;
}

std::vector<std::int32_t> all_tokens(const TokenShard& shard) {
    std::vector<std::int32_t> out(shard.tokens());
    shard.read(0, out);
    return out;
}

TEST(TokenShard, AStreamWithoutDocumentsIsCutExactly) {
    const TemporaryFolder folder;
    ShardWriter writer(folder.path(), "train", kHeader, false, 700);
    for (int i = 0; i < 20; ++i) writer.append(counted(100, 100 * i));
    const std::vector<ShardEntry> shards = writer.finish();
    EXPECT_EQ(shards,
              (std::vector<ShardEntry>{
                  {"train-00000.h5", 700, 1}, {"train-00001.h5", 700, 1}, {"train-00002.h5", 600, 1}}));
    const TokenStream stream(folder.path(), shards, kHeader);
    ASSERT_EQ(stream.tokens(), 2000u);
    for (std::uint64_t begin = 0; begin < 2000; begin += 97) {
        std::vector<std::int32_t> part(std::min<std::uint64_t>(1500, 2000 - begin));
        stream.read(begin, part);
        ASSERT_EQ(part, counted(part.size(), static_cast<std::int32_t>(begin)));
    }
    std::vector<std::int32_t> one(1);
    EXPECT_THROW(stream.read(2000, one), DataError);
    EXPECT_FALSE(std::filesystem::exists(folder / "train-00000.h5.tmp"));
}

TEST(TokenShard, DocumentsStayWhole) {
    const TemporaryFolder folder;
    ShardWriter writer(folder.path(), "valid", kHeader, true, 100);
    for (const std::size_t length : {60u, 60u, 10u, 0u, 250u, 5u}) {
        writer.append(counted(length));
        writer.end_document();
    }
    EXPECT_EQ(writer.finish(),
              (std::vector<ShardEntry>{
                  {"valid-00000.h5", 120, 2}, {"valid-00001.h5", 260, 3}, {"valid-00002.h5", 5, 1}}));
    const TokenShard shard(folder / "valid-00001.h5");
    std::vector<std::uint64_t> offsets(4);
    shard.read_offsets(0, offsets);
    EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 10, 10, 260}));
    EXPECT_EQ(shard.header(), kHeader);
    shard.check_all();
}

TEST(TokenShard, LongShardsAndLargeVocabulariesRoundTrip) {
    const TemporaryFolder folder;
    ShardHeader wide = kHeader;
    wide.vocab_size = 3'000'000;
    std::vector<std::int32_t> ids(2'500'000);  // more than two of the writer's portions
    std::iota(ids.begin(), ids.end(), 400'000);
    ShardWriter writer(folder.path(), "train", wide, true, 100'000'000);
    for (std::size_t at = 0; at < ids.size(); at += 312'500) {
        writer.append(std::span(ids).subspan(at, 312'500));
        writer.end_document();
    }
    const auto shards = writer.finish();
    ASSERT_EQ(shards.size(), 1u);
    EXPECT_EQ(shards[0].documents, 8u);
    EXPECT_TRUE(all_tokens(TokenShard(folder / "train-00000.h5")) == ids);
    EXPECT_EQ(Hdf5File::open_readonly(folder / "train-00000.h5").type("/tokens"), Hdf5Type::kU32);
}

TEST(TokenShard, TheWriterRefusesIdsOutsideTheVocabulary) {
    const TemporaryFolder folder;
    ShardWriter writer(folder.path(), "train", kHeader, false, 700);
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{1000}), DataError);
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{-1}), DataError);
    EXPECT_TRUE(writer.finish().empty());
}

struct FullDisk : FileSystem {
    int left = 0;
    bool refuses() {
        errno = ENOSPC;
        return left-- <= 0;
    }
    int before_library_write(const char*) override { return refuses() ? -1 : 0; }
    int fsync(int descriptor) override { return refuses() ? -1 : FileSystem::fsync(descriptor); }
    int rename(const char* from, const char* to) override {
        return refuses() ? -1 : FileSystem::rename(from, to);
    }
};

TEST(TokenShard, AFailureAtAnyWriteIsAnErrorAndLeavesNothingUnfinished) {
    const auto write_all = [](const std::string& folder, FileSystem& system) {
        ShardWriter writer(folder, "train", kHeader, false, 700);
        ShardWriter faulty(folder, "valid", kHeader, false, 700, system);
        faulty.append(counted(1000));
        faulty.finish();
    };
    int failures = 0;
    for (int allowed = 0;; ++allowed) {
        const TemporaryFolder folder;
        FullDisk system;
        system.left = allowed;
        bool failed = false;
        try {
            write_all(folder.path(), system);
        } catch (const IoError&) {
            failed = true;
            ++failures;
        }
        for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
            EXPECT_EQ(entry.path().extension(), ".h5");
            TokenShard(entry.path().string()).check_all();
        }
        if (!failed) break;
    }
    EXPECT_GT(failures, 20);
}

/// A shard with one thing about it changed.
struct Recipe {
    std::string format = "skein-tokens", kind = "stream";
    std::int64_t version = 1, vocab_size = 10;
    bool has_tokenizer = true, has_tokens = true, has_offsets = true;
    Hdf5Type type = Hdf5Type::kU16;
    std::vector<std::uint64_t> shape{4};
    std::vector<std::uint64_t> offsets{0, 2, 4};
    std::uint16_t last = 9;
};

std::string made(const TemporaryFolder& folder, const Recipe& recipe) {
    const std::string path = folder / "train-00000.h5";
    Hdf5File file = Hdf5File::create(path);
    file.set_attribute("format", recipe.format);
    file.set_attribute("kind", recipe.kind);
    file.set_attribute("version", recipe.version);
    file.set_attribute("vocab_size", recipe.vocab_size);
    if (recipe.has_tokenizer) file.set_attribute("tokenizer", "chars");
    file.set_attribute("tokenizer_sha256", "");
    if (recipe.has_tokens) {
        file.create_dataset("/tokens", recipe.type, recipe.shape);
        if (recipe.type == Hdf5Type::kU16)
            file.write<std::uint16_t>("/tokens", 0, std::vector<std::uint16_t>{1, 2, 3, recipe.last});
    }
    if (recipe.has_offsets) {
        file.create_dataset("/offsets", Hdf5Type::kU64, {recipe.offsets.size()});
        file.write<std::uint64_t>("/offsets", 0, recipe.offsets);
    }
    file.close();
    return path;
}

TEST(TokenShard, EveryWrongAttributeOrDatasetIsAnErrorAtOpening) {
    const TemporaryFolder folder;
    EXPECT_EQ(all_tokens(TokenShard(made(folder, {}))), (std::vector<std::int32_t>{1, 2, 3, 9}));
    const std::pair<Recipe, std::string> wrong[] = {
        {{.format = "tokens"}, "format \"tokens\""},
        {{.kind = "pairs"}, "kind \"pairs\", wanted \"stream\""},
        {{.version = 2}, "version 2"},
        {{.vocab_size = 0}, "vocab_size 0"},
        {{.has_tokenizer = false}, "no attribute tokenizer"},
        {{.has_tokens = false}, "no dataset /tokens"},
        {{.has_offsets = false}, "no dataset /offsets"},
        {{.type = Hdf5Type::kI32}, "found int32, wanted uint16 or uint32"},
        {{.shape = {2, 2}}, "one axis"},
        {{.offsets = {}}, "is empty"},
        {{.offsets = {1, 4}}, "go from 1 to 4"},
        {{.offsets = {0, 3}}, "go from 0 to 3, wanted 0 to 4"},
    };
    for (const auto& [recipe, message] : wrong) {
        const std::string path = made(folder, recipe);
        try {
            const TokenShard shard(path);
            ADD_FAILURE() << message;
        } catch (const DataError& error) {
            EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
            EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
        }
    }
    EXPECT_THROW(TokenShard(folder / "other.h5"), MissingError);
}

TEST(TokenShard, WhatIsWrongInsideIsAnErrorWhenItIsRead) {
    const TemporaryFolder folder;
    const std::string path = made(folder, {.last = 10});
    const TokenShard shard(path);
    std::vector<std::int32_t> some(3);
    shard.read(0, some);
    try {
        shard.read(1, some);
        ADD_FAILURE();
    } catch (const DataError& error) {
        EXPECT_EQ(std::string(error.what()),
                  path + ", /tokens: token 3 is 10, wanted an id of the vocabulary, [0, 10)");
    }
    EXPECT_THROW(shard.read(2, some), DataError);
    EXPECT_THROW(TokenShard(made(folder, {.offsets = {0, 3, 2, 4}})).check_all(), DataError);
}

TEST(TokenShard, ATruncatedShardIsAnErrorAtEveryLength) {
    const TemporaryFolder folder;
    {
        ShardWriter writer(folder.path(), "train", kHeader, false, 100'000);
        writer.append(counted(50'000));
        writer.finish();
    }
    const std::string path = folder / "train-00000.h5", bytes = read_file(path);
    for (std::size_t length = 0; length < bytes.size(); length += bytes.size() / 60) {
        write_file_atomic(FileSystem::real(), path, std::string_view(bytes).substr(0, length));
        EXPECT_THROW(TokenShard(path).check_all(), DataError) << length;
    }
}

TEST(TokenStream, RefusesShardsThatAreNotAsListed) {
    const TemporaryFolder folder;
    ShardWriter writer(folder.path(), "train", kHeader, false, 700);
    writer.append(counted(100));
    const auto shards = writer.finish();
    ShardHeader other = kHeader;
    other.vocab_size = 2000;
    EXPECT_THROW(TokenStream(folder.path(), shards, other), DataError);
    other = kHeader;
    other.tokenizer_sha256[0] = 'b';
    EXPECT_THROW(TokenStream(folder.path(), shards, other), DataError);
    auto longer = shards;
    ++longer[0].tokens;
    EXPECT_THROW(TokenStream(folder.path(), longer, kHeader), DataError);
    EXPECT_EQ(TokenStream(folder.path(), {}, kHeader).tokens(), 0u);
}

}  // namespace
}  // namespace skein
