#include "data/data_folder.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "data/prepare.h"
#include "model/base/error.h"
#include "tests/support/hdf5_leaks.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

void put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
}

/// A small data folder with two training shards and one for validation.
void make_folder(const TemporaryFolder& folder) {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "line " + std::to_string(i * i % 91) + " of the text\n";
    put(folder / "text", text);
    PrepareOptions options;
    options.text = {folder / "text"};
    options.tokenizer = "chars";
    options.out = folder / "data";
    options.shard_tokens = 4000;
    const DataFolder made = prepare_stream(options);
    ASSERT_EQ(made.train.size(), 2u);
    ASSERT_EQ(made.valid.size(), 1u);
}

TEST(DataFolder, OpensWithWhatTheIndexSays) {
    const TemporaryFolder folder;
    make_folder(folder);
    const DataFolder data = open_data_folder(folder / "data");
    EXPECT_TRUE(data.has_index);
    EXPECT_EQ(data.header.tokenizer, "chars");
    EXPECT_EQ(data.header.tokenizer_sha256, sha256_of(*load_tokenizer(data.path)));
    EXPECT_EQ(data.documents, "none");
    EXPECT_EQ(data.train[1].name, "train-00001.h5");
    EXPECT_EQ(data.train[0].tokens, 4000u);
    EXPECT_EQ(data.files.size(), 5u);  // three shards, the tokenizer, valid.txt
    EXPECT_EQ(TokenStream(data.path, data.train, data.header).tokens(), data.train_tokens());
    EXPECT_TRUE(verify_data_folder(data.path).faults.empty());
}

TEST(DataFolder, EveryFlippedByteIsFoundAndItsFileNamed) {
    const TemporaryFolder folder;
    make_folder(folder);
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "data"))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    ASSERT_EQ(names.size(), 6u);
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) {
        const std::string& name = names[static_cast<std::size_t>(i) % names.size()];
        const std::string path = folder / ("data/" + name), bytes = read_file(path);
        std::string flipped = bytes;
        const std::size_t at = random() % bytes.size();
        flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
        std::ofstream(path, std::ios::binary) << flipped;
        const DataReport report = verify_data_folder(folder / "data");
        ASSERT_FALSE(report.faults.empty()) << name << " byte " << at;
        EXPECT_EQ(report.faults[0].name, name) << at;
        EXPECT_THROW(open_data_folder(folder / "data"), DataError) << name << " byte " << at;
        std::ofstream(path, std::ios::binary) << bytes;
    }
    EXPECT_TRUE(verify_data_folder(folder / "data").faults.empty());
}

TEST(DataFolder, MissingTruncatedAndUnlistedFilesAreErrorsAtOpening) {
    const TemporaryFolder folder;
    make_folder(folder);
    const std::string data = folder / "data";
    for (const char* name : {"train-00001.h5", "valid-00000.h5", "tokenizer.json", "valid.txt"}) {
        const std::string path = data + "/" + name, bytes = read_file(path);
        std::filesystem::remove(path);
        EXPECT_THROW(open_data_folder(data), MissingError) << name;
        EXPECT_EQ(verify_data_folder(data).faults.at(0).name, name);
        put(path, bytes.substr(0, bytes.size() - 1));
        EXPECT_THROW(open_data_folder(data), DataError) << name;
        EXPECT_EQ(verify_data_folder(data).faults.at(0).name, name);
        put(path, bytes);
        open_data_folder(data);
    }
    std::filesystem::copy_file(data + "/train-00001.h5", data + "/train-00002.h5");
    EXPECT_THROW(open_data_folder(data), DataError);
    EXPECT_EQ(verify_data_folder(data).faults.at(0).name, "train-00002.h5");
    std::filesystem::remove(data + "/train-00002.h5");
    put(data + "/notes.txt", "other files are nobody's business");
    open_data_folder(data);
    put(data + "/" + kUnfinishedName, "");
    EXPECT_THROW(open_data_folder(data), DataError);
    EXPECT_FALSE(verify_data_folder(data).faults.empty());
}

TEST(DataFolder, WithoutAnIndexShardsAreFoundByName) {
    const TemporaryFolder folder;
    make_folder(folder);
    const std::string data = folder / "data";
    const DataFolder before = open_data_folder(data);
    std::filesystem::remove(data + "/index.json");
    const DataFolder found = open_data_folder(data);
    EXPECT_FALSE(found.has_index);
    EXPECT_EQ(found.train, before.train);
    EXPECT_EQ(found.valid, before.valid);
    EXPECT_EQ(found.header, before.header);
    EXPECT_TRUE(verify_data_folder(data).faults.empty());
    std::filesystem::rename(data + "/tokenizer.json", data + "/kept");
    EXPECT_EQ(open_data_folder(data).tokenizer_file, "");
    save_tokenizer(*make_bytes_tokenizer(false), data);
    EXPECT_THROW(open_data_folder(data), DataError);  // not the tokenizer that the shards were made with
    std::filesystem::rename(data + "/kept", data + "/tokenizer.json");
    // A flipped token is found by Fletcher-32 alone.
    const std::string path = data + "/train-00000.h5";
    std::string bytes = read_file(path);
    const std::vector<std::int32_t> tokens = [&] {
        std::vector<std::int32_t> out(4);
        TokenShard(path).read(1000, out);
        return out;
    }();
    std::string pattern;
    for (const std::int32_t token : tokens) pattern += {static_cast<char>(token), '\0'};
    const std::size_t at = bytes.find(pattern);
    ASSERT_NE(at, std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    put(path, bytes);
    EXPECT_EQ(verify_data_folder(data).faults.at(0).name, "train-00000.h5");
}

TEST(DataFolder, AFolderWithNothingInItIsMissing) {
    const TemporaryFolder folder;
    EXPECT_THROW(open_data_folder(folder / "none"), MissingError);
    EXPECT_THROW(verify_data_folder(folder / "none"), MissingError);
    EXPECT_THROW(open_data_folder(folder.path()), MissingError);
}

}  // namespace
}  // namespace skein
