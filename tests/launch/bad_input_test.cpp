// Whatever is wrong with what the program is given, it ends in one clear line and its exit code, on one rank
// and on two; nothing hangs, and nothing that was good is lost.

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <nlohmann/json.hpp>

#include "data/hdf5_file.h"
#include "tests/launch/changed_bytes.h"
#include "tests/support/refusal.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class BadInput : public RefusalTest {
  protected:
    static void SetUpTestSuite() {
        RefusalTest::SetUpTestSuite();
        write(*shared_ / "text.txt", pseudo_text(8'000));
        write(*shared_ / "other.txt", pseudo_text(9'000));
        write(*shared_ / "digits.txt", pseudo_text(8'000) + "0123456789");
        for (const char* name : {"text", "other", "digits"})
            ASSERT_EQ(run_skein(prepare(*shared_ / name + ".txt", name)).code, 0);
        const Outcome trained = run_skein(train("text", *shared_ / "run"));
        ASSERT_EQ(trained.code, 0) << trained.errors;
    }

    static std::vector<std::string> prepare(const std::string& text, const std::string& data) {
        return {"prepare", "--tokenizer", "chars", "--text", text, "--out", *shared_ / data};
    }

    /// `more` begins with --train.steps, or leaves it to 6.
    static std::vector<std::string> train(const std::string& data, const std::string& out,
                                          const std::string& more = "") {
        return words(
            "train --data " + (data[0] == '/' ? data : *shared_ / data) + " --out " + out +
            " --model.heads 2 --model.context 16 --train.batch 4 --parallel.threads 1 --checkpoint.every 2"
            " --eval.every 2 --model.layers 1 " +
            (more.find("--model.width") == std::string::npos ? "--model.width 32 " : "") +
            (more.find("--train.steps") == std::string::npos ? "--train.steps 6 " : "") + more);
    }

    static Json inspected(const std::string& folder) {
        const Outcome outcome = run_skein({"inspect", folder, "--json"});
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        return outcome.code == 0 ? Json::parse(outcome.out) : Json{};
    }
};

TEST_F(BadInput, MissingDataIsNamed) {
    expect_refused_on_ranks(train("none", folder_ / "run"), kMissing, {*shared_ / "none"});
    fs::create_directory(folder_ / "empty");
    expect_refused(run_skein(train(folder_ / "empty", folder_ / "run")), kMissing, {folder_ / "empty"});
    expect_refused_on_ranks({"evaluate", "--checkpoint", *shared_ / "run", "--data", folder_ / "none"},
                            kMissing, {folder_ / "none"});
    expect_refused(run_skein({"generate", "--checkpoint", folder_ / "none", "--prompt", "a"}), kMissing,
                   {folder_ / "none"});
    expect_refused(run_skein(train("text", folder_ / "run", "--resume " + (folder_ / "none"))), kMissing,
                   {folder_ / "none"});
    expect_refused(run_skein(train("text", folder_ / "run", "--config " + (folder_ / "none"))), kMissing,
                   {folder_ / "none"});
}

TEST_F(BadInput, DamagedDataNamesItsFile) {
    const std::string missing = copy("text");
    fs::remove(missing + "/train-00000.h5");
    expect_refused_on_ranks(train(missing, folder_ / "run"), kMissing, {missing + "/train-00000.h5"});

    const std::string truncated = copy("text");
    fs::resize_file(truncated + "/train-00000.h5", fs::file_size(truncated + "/train-00000.h5") / 2);
    expect_refused_on_ranks(train(truncated, folder_ / "run"), kBadData, {truncated + "/train-00000.h5"});

    for (const char* name :
         {"train-00000.h5", "valid-00000.h5", "index.json", "tokenizer.json", "valid.txt"}) {
        const std::string flipped = copy("text");
        ASSERT_TRUE(fs::exists(flipped + "/" + name)) << name;
        flip_byte(flipped + "/" + name, fs::file_size(flipped + "/" + name) / 2);
        expect_refused(run_skein(train(flipped, folder_ / "run")), kBadData, {flipped + "/" + name});
    }
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
}

TEST_F(BadInput, DamageInAFolderWithoutAnIndexIsFoundWhenItIsRead) {
    const std::string truncated = copy("text");
    fs::remove(truncated + "/index.json");
    fs::resize_file(truncated + "/train-00000.h5", fs::file_size(truncated + "/train-00000.h5") / 2);
    expect_refused_on_ranks(train(truncated, folder_ / "run"), kBadData, {truncated + "/train-00000.h5"});

    for (const char* name : {"train-00000.h5", "valid-00000.h5"}) {
        const std::string flipped = copy("text"), shard = flipped + "/" + name;
        fs::remove(flipped + "/index.json");
        flip_stored_token(shard);
        expect_refused_on_ranks(train(flipped, folder_ / "run"), kBadData, {shard, "/tokens"});
    }
}

/// A data folder as others write it: one shard, no index.
void write_shard(const std::string& folder, std::int64_t vocabulary, std::uint16_t most) {
    fs::create_directory(folder);
    Hdf5File file = Hdf5File::create(folder + "/train-00000.h5");
    file.set_attribute("format", "skein-tokens");
    file.set_attribute("version", std::int64_t{1});
    file.set_attribute("kind", "stream");
    file.set_attribute("vocab_size", vocabulary);
    file.set_attribute("tokenizer", "");
    file.set_attribute("tokenizer_sha256", "");
    std::vector<std::uint16_t> tokens(4000);
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::uint16_t>(i % (most + 1u));
    const std::vector<std::uint64_t> offsets{0, tokens.size()};
    file.create_dataset("/tokens", Hdf5Type::kU16, {tokens.size()}, {.fletcher32 = true});
    file.create_dataset("/offsets", Hdf5Type::kU64, {2}, {.fletcher32 = true});
    file.write<std::uint16_t>("/tokens", 0, tokens);
    file.write<std::uint64_t>("/offsets", 0, offsets);
    file.close();
}

TEST_F(BadInput, ATokenOutsideTheVocabularyIsNamed) {
    write_shard(folder_ / "good", 10, 9);
    const Outcome good = run_skein(train(folder_ / "good", folder_ / "run-good"));
    EXPECT_EQ(good.code, 0) << good.errors;
    write_shard(folder_ / "bad", 10, 10);
    expect_refused_on_ranks(
        train(folder_ / "bad", folder_ / "run"), kBadData,
        {folder_ / "bad" + "/train-00000.h5", "is 10, wanted an id of the vocabulary, [0, 10)"});
    const Outcome inspect = run_skein({"inspect", folder_ / "bad"});
    EXPECT_EQ(inspect.code, kBadData) << inspect.errors;
}

TEST_F(BadInput, VocabulariesThatDoNotFitAreRefused) {
    // the tokenizer's
    const std::string mixed = copy("text");
    fs::remove(mixed + "/index.json");
    fs::copy_file(*shared_ / "digits/tokenizer.json", mixed + "/tokenizer.json",
                  fs::copy_options::overwrite_existing);
    expect_refused_on_ranks(train(mixed, folder_ / "run"), kBadData, {mixed + "/tokenizer.json"});
    // the model's
    expect_refused_on_ranks({"evaluate", "--checkpoint", *shared_ / "run", "--data", *shared_ / "digits"},
                            kBadData, {"vocabulary of"});
    expect_refused(run_skein(train("text", folder_ / "run", "--model.vocabulary 1000")), kBadData,
                   {"vocabulary of", "1000"});
}

TEST_F(BadInput, TextThatIsNoTextNamesFileAndOffset) {
    write(folder_ / "empty.txt", "");
    expect_refused(run_skein({"prepare", "--tokenizer", "chars", "--text", folder_ / "empty.txt", "--out",
                              folder_ / "data"}),
                   kBadData, {folder_ / "empty.txt"});
    write(folder_ / "latin.txt", "caf\xe9 au lait\n");
    for (const char* tokenizer : {"chars", "sentencepiece"}) {
        expect_refused(run_skein({"prepare", "--tokenizer", tokenizer, "--text", folder_ / "latin.txt",
                                  "--out", folder_ / "data"}),
                       kBadData, {folder_ / "latin.txt", "3"});
    }
    EXPECT_FALSE(fs::exists(folder_ / "data/index.json"));
}

TEST_F(BadInput, WrongUsageNamesTheOptionAndWhatIsAllowed) {
    const std::string out = folder_ / "run";
    expect_refused_on_ranks(train("text", out, "--train.step 4"), kUsage,
                            {"--train.step", "did you mean --train.steps?"});
    expect_refused_on_ranks(train("text", out, "--model.dropout 1.5"), kUsage,
                            {"--model.dropout", "1.5", "allowed"});
    expect_refused(run_skein(train("text", out, "--train.seed -1")), kUsage, {"--train.seed", "-1"});
    expect_refused(run_skein(train("text", out, "--model.kind encoder")), kUsage,
                   {"--model.kind", "encoder"});
    expect_refused_on_ranks(train("text", out, "--model.width 33"), kUsage,
                            {"--model.width", "--model.heads"});
    write(folder_ / "bad.ini", "[train]\nbath = 3\n");
    expect_refused_on_ranks(train("text", out, "--config " + (folder_ / "bad.ini")), kUsage,
                            {"train.bath", "train.batch"});
    EXPECT_FALSE(fs::exists(out + "/checkpoints"));
}

TEST_F(BadInput, MoreRanksThanLanesNamesTheOptionAndItsValue) {
    expect_refused(run_skein(train("text", folder_ / "run", "--parallel.lanes 2"), 3), kUsage,
                   {"--parallel.lanes", "4"});
}

TEST_F(BadInput, ACheckpointOfAnotherModelIsRefused) {
    const std::string run = copy("run");
    expect_refused_on_ranks(train("text", run, "--model.width 64"), kUsage, {"--model.width", "64", "32"});
    expect_refused(run_skein(train("text", folder_ / "other", "--model.width 64 --resume " + run)), kUsage,
                   {"--model.width", "64", "32"});
    expect_refused_on_ranks(train("text", folder_ / "fresh", "--model.width 64 --init " + run), kBadData,
                            {run});
    expect_refused(run_skein(train("text", run, "--train.seed 7")), kUsage, {"--train.seed"});
    expect_refused(run_skein(train("text", run, "--resume never")), kUsage, {"--resume"});
    EXPECT_EQ(inspected(run)["step"], 6);
}

TEST_F(BadInput, ChangedDataIsRefusedUnlessAccepted) {
    const std::string run = copy("run");
    expect_refused_on_ranks(train("other", run, "--train.steps 8"), kUsage, {"--data.changed accept"});
    const Outcome accepted = run_skein(train("other", run, "--train.steps 8 --data.changed accept"), 2);
    EXPECT_EQ(accepted.code, 0) << accepted.errors;
    EXPECT_EQ(inspected(run)["step"], 8);
}

TEST_F(BadInput, ASecondWriterIsRefused) {
    const std::string run = folder_ / "run";
    RunningProgram first(train("text", run, "--train.steps 1000000 --checkpoint.keep 1"));
    ASSERT_TRUE(becomes_true([&] { return fs::exists(run + "/log.jsonl") || !first.runs(); }))
        << first.errors();
    expect_refused_on_ranks(train("text", run, "--train.steps 1000000 --checkpoint.keep 1"), kUsage,
                            {run, "lock"});
    EXPECT_TRUE(first.runs());
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait().code, 75);
    EXPECT_EQ(inspected(run)["good"], true);
}

TEST_F(BadInput, ARunIsNotBegunAnewWhereItsCheckpointsCannotBeListed) {
    const std::string run = copy("run"), log = contents(run + "/log.jsonl");
    fs::rename(run + "/checkpoints", run + "/aside");
    write(run + "/checkpoints", "no folder");
    expect_refused_on_ranks(train("text", run), kInputOutput, {"cannot list " + run + "/checkpoints"});
    EXPECT_EQ(contents(run + "/log.jsonl"), log);
}

TEST_F(BadInput, ADamagedCheckpointIsPassedOver) {
    const std::string run = copy("run"), newest = run + "/checkpoints/step-00000006";
    flip_byte(newest + "/rank-00000.h5", 5000);
    const Outcome resumed = run_skein(train("text", run, "--train.steps 8"), 2);
    EXPECT_EQ(resumed.code, 0) << resumed.errors;
    EXPECT_NE(resumed.errors.find(newest + " is passed over"), std::string::npos) << resumed.errors;
    EXPECT_NE(resumed.errors.find("resumed from " + run + "/checkpoints/step-00000004"), std::string::npos)
        << resumed.errors;
    EXPECT_EQ(inspected(run)["step"], 8);

    const std::string all = copy("run");
    for (const auto& entry : fs::directory_iterator(all + "/checkpoints"))
        flip_byte(entry.path() / "manifest.json", 99);
    const Outcome none = run_skein({"evaluate", "--checkpoint", all, "--data", *shared_ / "text"}, 2);
    EXPECT_TRUE(none.code == kBadData || none.code == kMissing) << none.errors;
    const Outcome again = run_skein(train("text", all, "--train.steps 8"));
    EXPECT_EQ(again.code, kBadData) << "no silent start over what was a run: " << again.errors;
    expect_refused(run_skein({"evaluate", "--checkpoint", all + "/checkpoints/step-00000006", "--data",
                              *shared_ / "text"}),
                   kBadData, {"manifest.json"});
}

void expect_survived(const Outcome& full, const std::string& run) {
    EXPECT_EQ(full.code, kInputOutput) << full.errors;
    EXPECT_NE(full.errors.find("was not saved"), std::string::npos) << full.errors;
    EXPECT_NE(full.errors.find("the last checkpoint could not be saved"), std::string::npos) << full.errors;
    for (const auto& entry : fs::directory_iterator(run + "/checkpoints"))
        EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos) << entry.path();
}

// A limit to the size of files makes writes fail as a full disk does, and needs no rights.
TEST_F(BadInput, WritesThatFailCostNoCheckpoint) {
    const std::string run = copy("run");
    const Json before = inspected(run);
    const Outcome full = run_skein(train("text", run, "--train.steps 10"), 1, "trap '' XFSZ; ulimit -f 64;");
    expect_survived(full, run);
    EXPECT_EQ(inspected(run)["state"], before["state"]);
    const Outcome later = run_skein(train("text", run, "--train.steps 10"));
    EXPECT_EQ(later.code, 0) << later.errors;
    EXPECT_EQ(inspected(run)["step"], 10);
}

TEST_F(BadInput, AFullDiskCostsNoCheckpoint) {
    const std::string disk = folder_ / "disk", run = disk + "/run";
    fs::create_directory(disk);
    if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=700k") != 0)
        GTEST_SKIP() << "mounting a small disk needs root's rights: " << std::strerror(errno);
    const Outcome full = run_skein(train("text", run, "--train.steps 10"), 2);
    expect_survived(full, run);
    const Json left = inspected(run);
    EXPECT_GE(left["step"], 2);
    EXPECT_LT(left["step"], 10);
    umount(disk.c_str());
}

}  // namespace
}  // namespace skein
