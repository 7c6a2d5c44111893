#include "data/pair_shard.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "data/token_shard.h"
#include "model/base/error.h"
#include "tests/support/hdf5_leaks.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

using Ids = std::vector<std::int32_t>;

const ShardHeader kTarget{1000, "sentencepiece", std::string(64, 'a')};
const ShardHeader kSource{70'000, "sentencepiece", std::string(64, 'b')};
const PairHeader kJoint{kTarget, kTarget}, kSeparate{kSource, kTarget};

Ids source_of(std::uint64_t pair) {
    return Ids(1 + pair % 7, static_cast<std::int32_t>(pair % 1000));
}
Ids target_of(std::uint64_t pair) {
    return Ids(1 + pair * pair % 11, static_cast<std::int32_t>(999 - pair % 1000));
}

std::vector<ShardEntry> write_pairs(const std::string& folder, std::uint64_t pairs, const PairHeader& header,
                                    std::uint64_t shard_tokens, FileSystem& system = FileSystem::real()) {
    PairWriter writer(folder, "train", header, shard_tokens, system);
    for (std::uint64_t pair = 0; pair < pairs; ++pair) writer.append(source_of(pair), target_of(pair));
    return writer.finish();
}

TEST(PairShard, PairsRoundTripAcrossShards) {
    for (const PairHeader& header : {kJoint, kSeparate}) {
        const TemporaryFolder folder;
        const std::vector<ShardEntry> shards = write_pairs(folder.path(), 500, header, 1500);
        ASSERT_GT(shards.size(), 2u);
        const PairStream stream(folder.path(), shards, header);
        ASSERT_EQ(stream.pairs(), 500u);
        const std::vector<PairLength> lengths = stream.read_lengths();
        ASSERT_EQ(lengths.size(), 500u);
        for (std::uint64_t pair = 0; pair < 500; ++pair) {
            Ids source, target;
            stream.read(pair, source, target);
            ASSERT_EQ(source, source_of(pair));
            ASSERT_EQ(target, target_of(pair));
            ASSERT_EQ(lengths[pair].source, source.size());
            ASSERT_EQ(lengths[pair].target, target.size());
        }
        Ids source, target;
        EXPECT_THROW(stream.read(500, source, target), DataError);
        const PairShard shard(folder / "train-00001.h5");
        EXPECT_EQ(shard.header(), header);
        EXPECT_EQ(shard.pairs(), shards[1].documents);
        EXPECT_EQ(shard.source().tokens(), shards[1].source_tokens);
        EXPECT_EQ(shard.target().tokens(), shards[1].tokens);
        EXPECT_GE(shards[1].tokens + shards[1].source_tokens, 1500u);
        shard.check_all();
    }
}

TEST(PairShard, ASideIsAsWideAsItsVocabularyNeeds) {
    const TemporaryFolder folder;
    write_pairs(folder.path(), 10, kSeparate, 1500);
    const Hdf5File file = Hdf5File::open_readonly(folder / "train-00000.h5");
    EXPECT_EQ(file.type("/source/tokens"), Hdf5Type::kU32);
    EXPECT_EQ(file.type("/target/tokens"), Hdf5Type::kU16);
    EXPECT_EQ(file.int_attribute("vocab_size"), 1000);
    EXPECT_EQ(file.int_attribute("source_vocab_size"), 70'000);
}

TEST(PairShard, TheWriterRefusesEmptySidesAndIdsOutsideTheVocabulary) {
    const TemporaryFolder folder;
    PairWriter writer(folder.path(), "train", kSeparate, 1500);
    EXPECT_THROW(writer.append(Ids{}, Ids{1}), DataError);
    EXPECT_THROW(writer.append(Ids{1}, Ids{}), DataError);
    EXPECT_THROW(writer.append(Ids{70'000}, Ids{1}), DataError);
    EXPECT_THROW(writer.append(Ids{1}, Ids{1000}), DataError);
    EXPECT_THROW(writer.append(Ids{-1}, Ids{1}), DataError);
    EXPECT_TRUE(writer.finish().empty());
}

TEST(PairShard, OneKindIsNotReadAsTheOther) {
    const TemporaryFolder folder;
    write_pairs(folder.path(), 10, kJoint, 1500);
    ShardWriter stream(folder.path(), "valid", kTarget, false, 100);
    stream.append(Ids{1, 2, 3});
    stream.finish();
    const auto message = [](auto open) -> std::string {
        try {
            open();
        } catch (const DataError& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_EQ(message([&] { TokenShard(folder / "train-00000.h5"); }),
              folder / "train-00000.h5" + ": found a shard of kind \"pairs\", wanted \"stream\"");
    EXPECT_EQ(message([&] { PairShard(folder / "valid-00000.h5"); }),
              folder / "valid-00000.h5" + ": found a shard of kind \"stream\", wanted \"pairs\"");
    EXPECT_EQ(kind_of_shard(folder / "train-00000.h5"), DataKind::kPairs);
    EXPECT_EQ(kind_of_shard(folder / "valid-00000.h5"), DataKind::kStream);
}

/// A shard with one thing about it changed.
struct Recipe {
    std::string kind = "pairs";
    std::int64_t vocab_size = 10;
    std::vector<std::string> without = {};
    std::vector<std::uint64_t> source_offsets{0, 2, 4}, target_offsets{0, 1, 4};
    std::uint16_t last = 9;
};

/// The message of the error, or none.
std::string message_for(const TemporaryFolder& folder, const Recipe& recipe) {
    const std::string path = folder / "train-00000.h5";
    Hdf5File file = Hdf5File::create(path);
    file.set_attribute("format", "skein-tokens");
    file.set_attribute("kind", recipe.kind);
    file.set_attribute("version", 1);
    file.set_attribute("vocab_size", recipe.vocab_size);
    file.set_attribute("tokenizer", "sentencepiece");
    file.set_attribute("tokenizer_sha256", "");
    const auto has = [&](const std::string& name) {
        return std::find(recipe.without.begin(), recipe.without.end(), name) == recipe.without.end();
    };
    for (const std::string side : {"/source", "/target"}) {
        if (has(side + "/tokens")) {
            file.create_dataset(side + "/tokens", Hdf5Type::kU16, {4});
            file.write<std::uint16_t>(side + "/tokens", 0, std::vector<std::uint16_t>{4, 5, 6, recipe.last});
        }
        const auto& offsets = side == "/source" ? recipe.source_offsets : recipe.target_offsets;
        if (has(side + "/offsets")) {
            file.create_dataset(side + "/offsets", Hdf5Type::kU64, {offsets.size()});
            file.write<std::uint64_t>(side + "/offsets", 0, offsets);
        }
    }
    file.close();
    try {
        PairShard(path).check_all();
    } catch (const DataError& error) {
        EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
        return error.what();
    }
    return "";
}

TEST(PairShard, EveryKindOfBrokenShardIsAnError) {
    const TemporaryFolder folder;
    EXPECT_EQ(message_for(folder, {}), "");
    const std::pair<Recipe, std::string> wrong[] = {
        {{.kind = "triples"}, "kind \"triples\""},
        {{.vocab_size = 3}, "vocab_size 3, wanted more than the ids of begin, end and padding"},
        {{.without = {"/source/tokens"}}, "no dataset /source/tokens"},
        {{.without = {"/source/offsets"}}, "no dataset /source/offsets"},
        {{.without = {"/target/tokens"}}, "no dataset /target/tokens"},
        {{.without = {"/target/offsets"}}, "no dataset /target/offsets"},
        {{.source_offsets = {0, 4}}, "found 1 source and 2 target sentences"},
        {{.source_offsets = {0, 2, 5}}, "/source/offsets: go from 0 to 5, wanted 0 to 4"},
        {{.target_offsets = {0, 0, 4}}, "/target: pair 0 is empty"},
        {{.source_offsets = {0, 4, 4}}, "/source: pair 1 is empty"},
        {{.source_offsets = {0, 3, 2, 4}, .target_offsets = {0, 1, 2, 4}}, "less than the one before"},
        {{.last = 10}, "/source/tokens: token 3 is 10"},
    };
    for (const auto& [recipe, message] : wrong)
        EXPECT_NE(message_for(folder, recipe).find(message), std::string::npos)
            << message << " in: " << message_for(folder, recipe);
    EXPECT_THROW(PairShard(folder / "other.h5"), MissingError);
}

TEST(PairShard, ATruncatedShardIsAnErrorAtEveryLength) {
    const TemporaryFolder folder;
    write_pairs(folder.path(), 5000, kJoint, 1'000'000);
    const std::string path = folder / "train-00000.h5", bytes = read_file(path);
    for (std::size_t length = 0; length < bytes.size(); length += bytes.size() / 40) {
        write_file_atomic(FileSystem::real(), path, std::string_view(bytes).substr(0, length));
        EXPECT_THROW(PairShard(path).check_all(), DataError) << length;
    }
}

TEST(PairStream, RefusesShardsThatAreNotAsListed) {
    const TemporaryFolder folder;
    const auto shards = write_pairs(folder.path(), 20, kSeparate, 100'000);
    EXPECT_THROW(PairStream(folder.path(), shards, kJoint), DataError);
    for (std::uint64_t ShardEntry::*count :
         {&ShardEntry::tokens, &ShardEntry::documents, &ShardEntry::source_tokens}) {
        auto other = shards;
        ++(other[0].*count);
        EXPECT_THROW(PairStream(folder.path(), other, kSeparate), DataError);
    }
    EXPECT_EQ(PairStream(folder.path(), {}, kJoint).pairs(), 0u);
}

}  // namespace
}  // namespace skein
