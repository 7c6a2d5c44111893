#include "data/prepare_pairs.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <sstream>

#include "data/prepare.h"
#include "model/base/error.h"
#include "tests/support/hdf5_leaks.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

std::string put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
    return path;
}

std::string sentences(int count, bool is_source) {
    const std::string words[2][6] = {{"geese", "fly", "over", "the", "river", "north"},
                                     {"Gänse", "fliegen", "über", "den", "Fluss", "nordwärts"}};
    std::string out;
    for (int i = 0; i < count; ++i) {
        for (int j = 0; j < 3 + i % 4; ++j)
            out += words[is_source ? 0 : 1][(i * 7 + j * j) % 6] + (j % 3 ? " " : ", ");
        out += "end.\n";
    }
    return out;
}

PreparePairsOptions options_for(const TemporaryFolder& folder, int count = 400) {
    PreparePairsOptions options;
    options.source = {put(folder / "source", sentences(count, true))};
    options.target = {put(folder / "target", sentences(count, false))};
    options.sentencepiece.vocab_size = 320;
    options.out = folder / "data";
    options.shard_tokens = 4000;
    return options;
}

/// Both sides of the shards as text, a line a pair.
std::pair<std::string, std::string> decoded(const DataFolder& folder, const std::vector<ShardEntry>& shards) {
    const auto source_tokenizer = load_source_tokenizer(folder.path), tokenizer = load_tokenizer(folder.path);
    const PairStream stream(folder.path, shards, folder.pair_header());
    std::pair<std::string, std::string> out;
    for (std::uint64_t pair = 0; pair < stream.pairs(); ++pair) {
        std::vector<std::int32_t> source, target;
        stream.read(pair, source, target);
        out.first += source_tokenizer->decode(source) + "\n";
        out.second += tokenizer->decode(target) + "\n";
    }
    return out;
}

TEST(PreparePairs, TheFirstNineTenthsOfThePairsTrainAndTheRestValidates) {
    for (const bool joint : {true, false}) {
        const TemporaryFolder folder;
        PreparePairsOptions options = options_for(folder);
        options.joint = joint;
        if (!joint) options.source_vocab_size = 310;
        const DataFolder data = prepare_pairs(options);
        EXPECT_EQ(data.kind, DataKind::kPairs);
        EXPECT_EQ(data.pair_header().is_joint(), joint);
        EXPECT_EQ(data.header.vocab_size, 320);
        EXPECT_EQ(data.source_header.vocab_size, joint ? 320 : 310);
        EXPECT_EQ(data.source_tokenizer_file, joint ? "" : "source-tokenizer.model");
        EXPECT_EQ(data.train_documents(), 360u);
        EXPECT_EQ(data.valid_documents(), 40u);
        EXPECT_GT(data.train.size(), 1u);
        EXPECT_TRUE(data.dropped.empty());
        const auto train = decoded(data, data.train), valid = decoded(data, data.valid);
        EXPECT_TRUE(train.first + valid.first == sentences(400, true));
        EXPECT_TRUE(train.second + valid.second == sentences(400, false));
        EXPECT_EQ(read_file(folder / "data/valid.source"), valid.first);
        EXPECT_EQ(read_file(folder / "data/valid.target"), valid.second);
        EXPECT_TRUE(verify_data_folder(data.path).faults.empty());
    }
}

TEST(PreparePairs, ManyFilesAndGzipAreOneText) {
    const TemporaryFolder folder;
    const PreparePairsOptions plain = options_for(folder);
    PreparePairsOptions options = plain;
    const auto gzip = [&](const std::string& name, const std::string& bytes) {
        const gzFile file = gzopen((folder / name).c_str(), "wb");
        gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
        gzclose(file);
        return folder / name;
    };
    const auto split = [&](bool is_source) {
        const std::string all = sentences(400, is_source), head = sentences(150, is_source);
        const std::string name = is_source ? "s" : "t";
        return std::vector<std::string>{put(folder / (name + "0"), head),
                                        gzip(name + "1.gz", all.substr(head.size()))};
    };
    options.source = split(true);
    options.target = split(false);
    options.out = folder / "again";
    const DataFolder a = prepare_pairs(plain), b = prepare_pairs(options);
    ASSERT_EQ(a.files.size(), b.files.size());
    EXPECT_EQ(a.fingerprint, b.fingerprint);  // of the index, with the hashes of all files
}

TEST(PreparePairs, WhatIsDroppedIsCountedByItsReason) {
    const TemporaryFolder folder;
    PreparePairsOptions options = options_for(folder);
    std::string source = sentences(400, true), target = sentences(400, false);
    source += "geese\n\ngeese fly\n \t\ngeese\n";
    target += "Gänse fliegen über den Fluss nordwärts über den Fluss\nGänse\n\n\nGänse\n";
    for (int i = 0; i < 60; ++i) source += "geese ", target += "Gänse ";
    source += "\n", target += "\n";
    options.source = {put(folder / "source", source)};
    options.target = {put(folder / "target", target)};
    options.valid_source = {put(folder / "valid-source", "geese fly\n\nnorth")};
    options.valid_target = {put(folder / "valid-target", "Gänse fliegen\nGänse\nnordwärts")};
    options.most_tokens = 50;
    options.most_ratio = 3;
    const DataFolder data = prepare_pairs(options);
    EXPECT_EQ(data.dropped, (std::map<std::string, std::uint64_t>{
                                {"empty", 3}, {"long", 1}, {"ratio", 1}, {"valid-empty", 1}}));
    EXPECT_EQ(data.train_documents(), 401u);
    EXPECT_EQ(read_file(folder / "data/valid.source"), "geese fly\nnorth\n");
    EXPECT_EQ(read_file(folder / "data/valid.target"), "Gänse fliegen\nnordwärts\n");
    EXPECT_EQ(decoded(data, data.valid).first, "geese fly\nnorth\n");
    options.empty_sides = EmptySides::kError;
    try {
        prepare_pairs(options);
        ADD_FAILURE();
    } catch (const DataError& error) {
        EXPECT_STREQ(error.what(), "pairs: pair 402 has an empty source, wanted text on both sides");
    }
    EXPECT_EQ(open_data_folder(options.out).fingerprint, data.fingerprint);  // as it was
}

TEST(PreparePairs, FilesOfDifferentLengthsAreAnErrorThatNamesBothCounts) {
    const TemporaryFolder folder;
    PreparePairsOptions options = options_for(folder);
    options.target = {put(folder / "target", sentences(397, false))};
    try {
        prepare_pairs(options);
        ADD_FAILURE();
    } catch (const DataError& error) {
        EXPECT_EQ(std::string(error.what()), "pairs: " + folder / "source" + " has 400 lines and " +
                                                 folder / "target" + " has 397, wanted as many of both");
    }
    EXPECT_THROW(open_data_folder(options.out), MissingError);
}

TEST(PreparePairs, BadInputIsAnError) {
    const TemporaryFolder folder;
    const PreparePairsOptions good = options_for(folder);
    PreparePairsOptions wrong = good;
    wrong.target.push_back(wrong.target[0]);
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong = good;
    wrong.source.clear();
    wrong.target.clear();
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong = good;
    wrong.source = {folder / "none"};
    EXPECT_THROW(prepare_pairs(wrong), MissingError);
    wrong = good;
    wrong.source = {put(folder / "empty", "")};
    wrong.target = wrong.source;
    EXPECT_THROW(prepare_pairs(wrong), DataError);
    wrong = good;
    wrong.most_tokens = 1;  // drops all
    EXPECT_THROW(prepare_pairs(wrong), DataError);
    wrong = good;
    wrong.most_ratio = 0.5;
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong = good;
    wrong.valid_fraction = 0.2;
    wrong.valid_source = wrong.source;
    wrong.valid_target = wrong.target;
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong = good;
    wrong.source_vocab_size = 100;
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong = good;
    wrong.sentencepiece.character_coverage = 0.5;  // SentencePiece wants 0.98 or more
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    wrong.sentencepiece.vocab_size = 100;  // less than the 256 bytes
    EXPECT_THROW(prepare_pairs(wrong), ConfigError);
    EXPECT_THROW(empty_sides_from("keep"), ConfigError);
    EXPECT_THROW(open_data_folder(good.out), MissingError);
}

TEST(PreparePairs, ReplacesAFolderOfTheOtherKindAndIsToldFromIt) {
    const TemporaryFolder folder;
    PrepareOptions stream;
    stream.text = {put(folder / "text", sentences(400, true))};
    stream.tokenizer = "chars";
    stream.out = folder / "data";
    const DataFolder before = prepare_stream(stream);
    require_kind(before, DataKind::kStream);
    EXPECT_THROW(require_kind(before, DataKind::kPairs), DataError);
    const DataFolder after = prepare_pairs(options_for(folder));
    require_kind(after, DataKind::kPairs);
    EXPECT_THROW(require_kind(after, DataKind::kStream), DataError);
    EXPECT_FALSE(std::filesystem::exists(folder / "data/valid.txt"));
    EXPECT_FALSE(std::filesystem::exists(folder / "data/tokenizer.json"));
    EXPECT_THROW(TokenStream(after.path, after.train, after.header), DataError);
    prepare_stream(stream);
    EXPECT_FALSE(std::filesystem::exists(folder / "data/valid.source"));
    EXPECT_TRUE(verify_data_folder(folder / "data").faults.empty());
}

TEST(PreparePairs, AFolderWithoutAnIndexIsToldByItsShards) {
    const TemporaryFolder folder;
    PreparePairsOptions options = options_for(folder);
    options.joint = false;
    const DataFolder made = prepare_pairs(options);
    std::filesystem::remove(folder / "data/index.json");
    const DataFolder found = open_data_folder(folder / "data");
    EXPECT_FALSE(found.has_index);
    EXPECT_EQ(found.kind, DataKind::kPairs);
    EXPECT_EQ(found.train, made.train);
    EXPECT_EQ(found.pair_header(), made.pair_header());
    EXPECT_TRUE(verify_data_folder(found.path).faults.empty());
    // A tokenizer that is not the shards' own.
    std::filesystem::copy_file(folder / "data/tokenizer.model", folder / "data/source-tokenizer.model",
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_THROW(open_data_folder(folder / "data"), DataError);
}

TEST(DataFolder, PairsWantATokenizerWithTheirEndToken) {
    const TemporaryFolder folder;
    const auto tokenizer = make_bytes_tokenizer(true);  // its end token is 256
    const ShardHeader header{tokenizer->vocab_size(), tokenizer->name(), sha256_of(*tokenizer)};
    PairWriter writer(folder.path(), "train", {header, header}, 100);
    writer.append(std::vector<std::int32_t>{65}, std::vector<std::int32_t>{66});
    writer.finish();
    EXPECT_EQ(open_data_folder(folder.path()).train_documents(), 1u);  // none is known
    save_tokenizer(*tokenizer, folder.path());
    EXPECT_THROW(open_data_folder(folder.path()), DataError);
}

TEST(PreparePairs, EveryFlippedByteIsFoundAndItsFileNamed) {
    const TemporaryFolder folder;
    PreparePairsOptions options = options_for(folder);
    options.joint = false;
    prepare_pairs(options);
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "data"))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    ASSERT_GE(names.size(), 8u);  // shards of both parts, two tokenizers, raw text of both sides, the index
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < 12 * names.size(); ++i) {
        const std::string &name = names[i % names.size()], path = folder / "data/" + name;
        const std::string bytes = read_file(path);
        std::string flipped = bytes;
        char& byte = flipped[random() % bytes.size()];
        byte = static_cast<char>(byte ^ (1 << random() % 8));
        put(path, flipped);
        const DataReport report = verify_data_folder(folder / "data");
        ASSERT_FALSE(report.faults.empty()) << name;
        EXPECT_EQ(report.faults[0].name, name);
        EXPECT_THROW(open_data_folder(folder / "data"), DataError);
        put(path, bytes);
    }
    EXPECT_TRUE(verify_data_folder(folder / "data").faults.empty());
}

}  // namespace
}  // namespace skein
