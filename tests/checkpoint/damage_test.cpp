#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/inspect.h"
#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/files.h"
#include "tests/checkpoint/example_state.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

void save(const std::string& folder, std::uint64_t step, int ranks = 2) {
    on_ranks(ranks, [&](Communicator& world) {
        const ExampleState example(step, {ranks, 1}, world.rank());
        ASSERT_TRUE(CheckpointStore(folder, 5, nullptr).save(world, example.state));
    });
}

void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class Damage : public testing::Test {
  protected:
    Damage() {
        save(checkpoints_, 1);
        save(checkpoints_, 2);
    }
    void flip(const std::string& path, std::size_t at, int bit) {
        std::string bytes = read_file(path);
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        write(path, bytes);
    }
    /// The step of the newest good checkpoint, on two ranks that must agree.
    std::uint64_t newest() {
        std::array<std::uint64_t, 2> steps{};
        on_ranks(2, [&](Communicator& world) {
            const auto found = newest_checkpoint(world, checkpoints_,
                                                 [&](const std::string& line) { warnings_.push_back(line); });
            steps[static_cast<std::size_t>(world.rank())] = found ? found->manifest().run.step : 0;
        });
        EXPECT_EQ(steps[0], steps[1]);
        return steps[0];
    }

    const TemporaryFolder folder_;
    const std::string checkpoints_ = folder_ / "checkpoints", newest_ = checkpoints_ + "/step-00000002";
    std::vector<std::string> warnings_;  // of rank 0, the only one that warns
};

TEST_F(Damage, OfAnySingleBitIsFoundAndItsFileIsNamed) {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(newest_))
        files.push_back(entry.path().filename().string());
    std::sort(files.begin(), files.end());
    ASSERT_EQ(files, (std::vector<std::string>{"manifest.json", "model.h5", "rank-00000.h5", "rank-00001.h5",
                                               "tokenizer.json"}));
    ASSERT_TRUE(inspect_checkpoint(newest_).faults.empty());
    std::mt19937_64 random(20240229);
    SoloCommunicator alone;
    for (int i = 0; i < 300; ++i) {
        const std::string& name = files[static_cast<std::size_t>(i) % files.size()];
        const std::string path = newest_ + "/" + name;
        const std::size_t at = random() % fs::file_size(path);
        const int bit = static_cast<int>(random() % 8);
        flip(path, at, bit);
        const CheckpointInspection found = inspect_checkpoint(newest_);
        ASSERT_FALSE(found.faults.empty()) << name << " byte " << at << " bit " << bit;
        for (const CheckpointFault& fault : found.faults) {  // several where it is HDF5's structure
            EXPECT_EQ(fault.file, name);
            EXPECT_EQ(fault.line().find('\n'), std::string::npos);
        }
        EXPECT_EQ(found.parameters_hash, "");
        EXPECT_THROW(Checkpoint::open(alone, newest_), CheckpointError);
        flip(path, at, bit);
    }
    EXPECT_TRUE(inspect_checkpoint(newest_).faults.empty());
}

TEST_F(Damage, OfATensorNamesItAndItsPlaceInTheFile) {
    const Manifest manifest = read_manifest(newest_);
    int tried = 0;
    for (const TensorRecord& tensor : manifest.tensors)
        for (const TensorPiece& piece : tensor.pieces) {
            const std::string path = newest_ + "/" + piece.file;
            const std::uint64_t begin = Hdf5File::open_readonly(path).place(piece.dataset).value();
            const std::uint64_t end =
                begin + static_cast<std::uint64_t>(piece.shape.elements()) * size_of(tensor.dtype);
            for (const std::uint64_t at : {begin, end - 1}) {
                flip(path, at, 3);
                const CheckpointInspection found = inspect_checkpoint(newest_);
                flip(path, at, 3);
                ASSERT_EQ(found.faults.size(), 1u) << path << " byte " << at;
                EXPECT_EQ(found.faults[0].tensor, tensor.name);
                EXPECT_EQ(found.faults[0].offset, begin);
                EXPECT_EQ(found.faults[0].line(), text(piece.file, ": ", tensor.name,
                                                       ": is changed within bytes [", begin, ", ", end, ")"));
                ++tried;
            }
        }
    EXPECT_GT(tried, 8);
}

TEST_F(Damage, MakesTheNextOlderOneServe) {
    EXPECT_EQ(newest(), 2u);
    EXPECT_TRUE(warnings_.empty());
    flip(newest_ + "/rank-00001.h5", 3000, 5);
    EXPECT_EQ(newest(), 1u);
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_NE(warnings_[0].find("step-00000002/rank-00001.h5: is changed within bytes"), std::string::npos)
        << warnings_[0];
    flip(checkpoints_ + "/step-00000001/manifest.json", 300, 0);
    EXPECT_EQ(newest(), 0u);
    SoloCommunicator alone;
    EXPECT_THROW(find_checkpoint(alone, folder_.path(), nullptr), CheckpointError);
}

TEST_F(Damage, OfTheManifestMakesTheNextOlderOneServe) {
    const std::string manifest = read_file(newest_ + "/manifest.json");
    write(newest_ + "/manifest.json", manifest.substr(0, manifest.size() / 2));
    EXPECT_EQ(newest(), 1u);
    write(newest_ + "/manifest.json", "");
    EXPECT_EQ(newest(), 1u);
    fs::remove(newest_ + "/manifest.json");
    EXPECT_EQ(newest(), 1u);
    EXPECT_EQ(warnings_.size(), 3u);
    ASSERT_EQ(inspect_checkpoint(newest_).faults.size(), 1u);
    EXPECT_EQ(inspect_checkpoint(newest_).faults[0].file, "manifest.json");
}

TEST_F(Damage, IsAFileTooFewTooManyTooShortOrTooLong) {
    const std::string tokenizer = newest_ + "/tokenizer.json";
    const auto faulty = [&] {
        const CheckpointInspection found = inspect_checkpoint(newest_);
        return found.faults.size() == 1 ? found.faults[0].file : text(found.faults.size(), " faults");
    };
    write(newest_ + "/more", "");
    EXPECT_EQ(faulty(), "more");
    fs::remove(newest_ + "/more");
    const std::string bytes = read_file(tokenizer);
    write(tokenizer, bytes + " ");
    EXPECT_EQ(faulty(), "tokenizer.json");
    write(tokenizer, bytes.substr(1));
    EXPECT_EQ(faulty(), "tokenizer.json");
    fs::remove(tokenizer);
    EXPECT_EQ(faulty(), "tokenizer.json");
    EXPECT_EQ(newest(), 1u);
    fs::create_directory(tokenizer);
    EXPECT_EQ(faulty(), "tokenizer.json");
}

TEST_F(Damage, OfAFolderIsSetAsideWhenItsStepIsSavedAgain) {
    flip(newest_ + "/model.h5", 100, 1);
    save(checkpoints_, 2);
    EXPECT_TRUE(fs::exists(newest_ + ".bad/manifest.json"));
    EXPECT_EQ(newest(), 2u);
    flip(newest_ + "/rank-00000.h5", 100, 1);
    save(checkpoints_, 2);
    EXPECT_TRUE(fs::exists(newest_ + ".bad-2/manifest.json"));
    EXPECT_EQ(newest(), 2u);
    EXPECT_TRUE(warnings_.empty());
}

TEST_F(Damage, OfASealedManifestCannotMakeItReadPastATensor) {
    // A manifest that is sealed rightly but lies about a dataset's shape.
    std::string manifest = read_file(newest_ + "/manifest.json");
    const std::string from = "\"name\":\"parameters/embedding.weight\",\"dtype\":\"f32\",\"shape\":[37,24]",
                      to = "\"name\":\"parameters/embedding.weight\",\"dtype\":\"f32\",\"shape\":[74,12]";
    ASSERT_NE(manifest.find(from), std::string::npos);
    manifest.replace(manifest.find(from), from.size(), to);
    const std::string piece = "\"offset\":[0,0],\"shape\":[37,24]";
    const std::size_t at = manifest.find(piece);
    ASSERT_NE(at, std::string::npos);
    manifest.replace(at, piece.size(), "\"offset\":[0,0],\"shape\":[74,12]");
    write(newest_ + "/manifest.json", sealed(manifest.substr(0, manifest.rfind(",\n\"hash\"")) + "\n}\n"));
    const CheckpointInspection found = inspect_checkpoint(newest_);
    ASSERT_EQ(found.faults.size(), 1u);
    EXPECT_EQ(found.faults[0].tensor, "parameters/embedding.weight");
}

TEST(Finding, SaysWhatIsMissing) {
    const TemporaryFolder folder;
    SoloCommunicator alone;
    EXPECT_THROW(find_checkpoint(alone, folder / "nothing", nullptr), MissingError);
    EXPECT_THROW(find_checkpoint(alone, folder.path(), nullptr), MissingError);
    EXPECT_THROW(inspect_checkpoint(folder / "nothing"), MissingError);
    EXPECT_FALSE(newest_checkpoint(alone, folder / "nothing", nullptr));
}

}  // namespace
}  // namespace skein
