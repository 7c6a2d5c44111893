// skein replay: steps of a finished run made again, and compared with what it logged.

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

class Replay : public testing::Test {
  protected:
    /// A run of 40 steps on two ranks, with its parameters hashed every fifth and saved every tenth.
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        prepare("data", 20'000);
        train("run", 2, "");
    }
    static void TearDownTestSuite() { delete folder_; }

    static void prepare(const std::string& data, std::size_t letters) {
        write(*folder_ / "text.txt", pseudo_text(letters));
        const Outcome prepared = run_skein(
            words("prepare --tokenizer chars --text " + *folder_ / "text.txt" + " --out " + out(data)));
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
    }

    static std::string out(const std::string& run) { return *folder_ / run; }

    static void train(const std::string& run, int ranks, const std::string& more,
                      const std::string& data = "data") {
        const Outcome outcome = run_skein(
            words("train --data " + out(data) + " --out " + out(run) +
                  " --model.layers 1 --model.width 32 --model.heads 2 --model.context 16 --model.dropout 0.1 "
                  "--train.batch 12 --parallel.lanes 4 --parallel.threads 1 --train.steps 40 "
                  "--checkpoint.every 10 --checkpoint.keep 9 --eval.every 0 --log.hash 5 " +
                  more),
            ranks);
        ASSERT_EQ(outcome.code, 0) << outcome.errors;
    }

    /// Takes back a run's steps after the 20th, and goes on from it in another way.
    static void go_on_from_20(const std::string& run, int ranks, const std::string& more,
                              const std::string& data = "data") {
        for (const char* step : {"30", "40"}) fs::remove_all(out(run) + "/checkpoints/step-000000" + step);
        train(run, ranks, more, data);
    }

    static Outcome replay(const std::string& run, int ranks, const std::string& more = "",
                          const std::string& data = "data") {
        return run_skein(
            words("replay --run " + out(run) + " --data " + out(data) + " --parallel.threads 1 " + more),
            ranks);
    }
    static void expect_said(const Outcome& outcome, const std::string& line) {
        EXPECT_NE(outcome.errors.find(line), std::string::npos) << outcome.errors << "wanted: " << line;
    }
    static void expect_equal(const Outcome& outcome, const std::string& line) {
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        EXPECT_EQ(outcome.out, line + "\n") << outcome.errors;
    }
    static void expect_refused(const Outcome& outcome, int code, const std::vector<std::string>& pieces) {
        EXPECT_EQ(outcome.code, code) << outcome.errors;
        EXPECT_EQ(outcome.out, "");
        const std::vector<std::string> lines = outcome.own_lines();
        ASSERT_FALSE(lines.empty());
        for (const std::string& piece : pieces)
            EXPECT_NE(lines.back().find(piece), std::string::npos) << lines.back() << "\nwanted: " << piece;
    }

    static std::string copied(const std::string& run) {
        const std::string copy = "copy-" + std::to_string(copies_++);
        fs::copy(out(run), out(copy), fs::copy_options::recursive);
        return copy;
    }
    /// Makes `change` to every line of a run's file; drops those for which it says false.
    static void change_lines(const std::string& run, const std::string& file,
                             const std::function<bool(Json&)>& change) {
        const std::string path = out(run) + "/" + file, before = contents(path);
        std::string all;
        for (const std::string& line : lines_of(before)) {
            Json json = Json::parse(line);
            if (change(json)) all += json.dump() + "\n";
        }
        EXPECT_NE(all, before) << "nothing was changed";
        write(path, all);
    }
    /// A copy of the run in which `change` has been made to a step's line of a file.
    static std::string tampered(const std::string& file, int step, const std::function<void(Json&)>& change) {
        const std::string run = copied("run");
        change_lines(run, file, [&](Json& line) {
            if (line["step"] == step) change(line);
            return true;
        });
        return run;
    }

    static std::map<std::string, std::string> files_of(const std::string& run) {
        std::map<std::string, std::string> files;
        for (const auto& entry : fs::recursive_directory_iterator(out(run)))
            files[entry.path().string()] = entry.is_regular_file() ? contents(entry.path().string()) : "";
        return files;
    }

    inline static TemporaryFolder* folder_;
    inline static int copies_ = 0;
};

TEST_F(Replay, GivesTheRunsBitsOnAnyNumberOfRanksAndWritesNothing) {
    const auto before = files_of("run");
    for (const int ranks : {1, 2, 3})
        expect_equal(replay("run", ranks), "30 steps replayed, 30 compared, 7 hashes equal");
    expect_equal(replay("run", 2, "--parallel.zero 1 --train.recompute block"),
                 "30 steps replayed, 30 compared, 7 hashes equal");
    EXPECT_EQ(files_of("run"), before);
}

TEST_F(Replay, StartsFromTheCheckpointThatIsAskedFor) {
    expect_equal(replay("run", 1, "--steps 10"), "10 steps replayed, 10 compared, 3 hashes equal");
    const Outcome from_step = replay("run", 1, "--from 25 --steps 7");
    expect_equal(from_step, "7 steps replayed, 7 compared, 2 hashes equal");
    EXPECT_NE(from_step.errors.find("at step 20"), std::string::npos) << from_step.errors;
    expect_equal(replay("run", 1, "--steps 3 --from " + out("run") + "/checkpoints/step-00000010"),
                 "3 steps replayed, 3 compared, 1 hashes equal");
}

TEST_F(Replay, NamesTheFirstStepAndTensorThatDiffer) {
    const Json hashes = Json::parse(lines_of(contents(out("run") + "/hashes.jsonl")).front());
    std::vector<std::string> names;
    for (const auto& [name, hash] : hashes["tensors"].items()) names.push_back(name);
    ASSERT_GT(names.size(), 5u);
    const std::string wrong = "0123456789abcdef";
    const std::string run = tampered("hashes.jsonl", 25, [&](Json& line) {
        for (const std::size_t i : {5, 2}) line["tensors"][names[i]] = wrong;
    });
    for (const int ranks : {1, 2})
        expect_refused(replay(run, ranks, "--from 20"), 65,
                       {"skein replay: step 25 is not the run's: the hash of " + names[2] + " is ",
                        ", it logged \"" + wrong + "\""});
    expect_equal(replay(run, 1, "--from 30"), "10 steps replayed, 10 compared, 3 hashes equal");

    expect_refused(
        replay(tampered("hashes.jsonl", 30, [&](Json& line) { line["tensors"].erase(names[1]); }), 1), 65,
        {"step 30 is not", names[1]});
    expect_refused(replay(tampered("hashes.jsonl", 35, [&](Json& line) { line["parameters"] = wrong; }), 1),
                   65, {"step 35 is not", "the hash of all parameters is "});
    expect_refused(replay(tampered("log.jsonl", 40, [&](Json& line) { line["parameters"] = wrong; }), 1), 65,
                   {"step 40 is not", "the hash of all parameters is "});
}

TEST_F(Replay, NamesAStepWhoseNumbersDifferInTheirLastBit) {
    for (const char* name : {"loss", "gradient_norm", "learning_rate"}) {
        const std::string run = tampered(
            "log.jsonl", 23, [&](Json& line) { line[name] = std::nextafter(line[name].get<double>(), 1e9); });
        expect_refused(replay(run, 1, "--from 20"), 65,
                       {"step 23 is not the run's: " + std::string(name) + " is "});
    }
}

TEST_F(Replay, TellsWhenTheCheckpointItselfIsNotWhatTheRunHad) {
    const std::string run =
        tampered("hashes.jsonl", 20, [](Json& line) { line["tensors"].begin().value() = "00"; });
    expect_refused(replay(run, 1, "--from 20"), 65,
                   {"step 20: what the checkpoint holds is not the run's: the hash of "});
}

TEST_F(Replay, CountsTheStepsThatItComparedWithoutTheCheckpointItself) {
    const std::string run = copied("run");
    change_lines(run, "log.jsonl", [](Json& line) { return line["step"] <= 20 || line["step"] > 27; });
    expect_refused(replay(run, 1, "--from 20 --steps 4"), 66,
                   {out(run) + " logged none of the steps 21 to 24"});
    expect_equal(replay(run, 1, "--from 20 --steps 9"),
                 "9 steps replayed, 3 compared, 2 hashes equal");  // 25, hashed alone; 28 and 29
}

TEST_F(Replay, ComparesLossesToRoundingOnOtherTensorRanks) {
    const Outcome outcome = replay("run", 2, "--parallel.tensor 2");
    expect_equal(outcome, "30 steps replayed, 30 compared, 0 hashes equal");
    EXPECT_NE(outcome.errors.find("bits differ by nature"), std::string::npos) << outcome.errors;
    const std::string run =
        tampered("log.jsonl", 23, [](Json& line) { line["loss"] = line["loss"].get<double>() * 1.001; });
    expect_refused(replay(run, 2, "--parallel.tensor 2"), 65, {"step 23 is not the run's: loss is "});
}

TEST_F(Replay, EndsWhereTheRunWentOnWithOtherOptions) {
    fs::copy(out("run"), out("changed"), fs::copy_options::recursive);
    fs::remove_all(out("changed") + "/checkpoints/step-00000040");
    train("changed", 1, "--schedule.peak 0.0005");  // from step 30 on
    const Outcome outcome = replay("changed", 1, "--from 20");
    expect_equal(outcome, "10 steps replayed, 10 compared, 3 hashes equal");
    EXPECT_NE(outcome.errors.find("replayed up to step 30: from there on the run had another schedule.peak"),
              std::string::npos)
        << outcome.errors;
    expect_equal(replay("changed", 1, "--from 30"), "10 steps replayed, 10 compared, 3 hashes equal");
}

TEST_F(Replay, GoesByTheSequenceOptionOfEachStart) {
    train("sequence", 2, "--parallel.tensor 2");
    go_on_from_20("sequence", 2, "--parallel.tensor 2 --parallel.sequence true");
    const Outcome before = replay("sequence", 2, "--from 10");
    expect_equal(before, "10 steps replayed, 10 compared, 3 hashes equal");
    expect_said(before, "replayed up to step 20: from there on the run had --parallel.sequence true");
    expect_equal(replay("sequence", 2, "--from 20"), "20 steps replayed, 20 compared, 5 hashes equal");
    const Outcome other = replay("sequence", 2, "--from 20 --parallel.sequence false");
    expect_equal(other, "20 steps replayed, 20 compared, 0 hashes equal");
    expect_said(other, "the run had --parallel.sequence true, now it is false: bits differ by nature");
    // a start that does not tell of it: the checkpoint's
    change_lines("sequence", "runs.jsonl", [](Json& line) {
        line.erase("sequence");
        line.erase("data");
        return true;
    });
    expect_equal(replay("sequence", 2, "--from 30"), "10 steps replayed, 10 compared, 3 hashes equal");
}

TEST_F(Replay, GoesByTheDataOfEachStart) {
    prepare("other-data", 15'000);
    const std::string run = copied("run");
    go_on_from_20(run, 1, "--data.changed accept", "other-data");
    const Outcome before = replay(run, 1, "--from 10");
    expect_equal(before, "10 steps replayed, 10 compared, 3 hashes equal");
    expect_said(before, "replayed up to step 20: from there on the run had other data");
    expect_equal(replay(run, 1, "--from 20", "other-data"), "20 steps replayed, 20 compared, 5 hashes equal");
    expect_refused(replay(run, 1, "--from 20"), 64,
                   {"--data: " + out("data") + " is not the data with which the run went on from step 20"});
}

TEST_F(Replay, ComparesLossesToRoundingWhereAnotherReductionSumsOtherwise) {
    train("fast", 2, "--parallel.reduction fast");
    go_on_from_20("fast", 3, "--parallel.reduction fast");
    const Outcome before = replay("fast", 2, "--from 10");
    expect_equal(before, "10 steps replayed, 10 compared, 3 hashes equal");
    expect_said(before, "replayed up to step 20: from there on the run had 3 ranks");
    expect_equal(replay("fast", 3, "--from 20"), "20 steps replayed, 20 compared, 5 hashes equal");
    const Outcome other = replay("fast", 2, "--from 20");
    expect_equal(other, "20 steps replayed, 20 compared, 0 hashes equal");
    expect_said(other,
                "with --parallel.reduction fast the run had 3 ranks, now it is 2: bits differ by nature");
    const Outcome lanes = replay("fast", 3, "--from 20 --parallel.reduction lanes");
    expect_equal(lanes, "20 steps replayed, 20 compared, 0 hashes equal");
    expect_said(lanes, "the run had --parallel.reduction fast, now it is lanes: bits differ by nature");
}

TEST_F(Replay, RefusesWhatThereIsNot) {
    expect_refused(replay("none", 1), 66, {out("none"), "log.jsonl"});
    expect_refused(replay("run", 2, "--steps 31"), 66, {"no checkpoint with 31 logged steps behind it"});
    expect_refused(replay("run", 1, "--from 9"), 66, {"no checkpoint at or before step 9"});
    expect_refused(replay("run", 1, "--from 40"), 66, {"0 logged steps behind it"});
    expect_refused(replay("run", 1, "--from 20 --steps 9223372036854775807"), 66,
                   {"20 logged steps behind it, wanted 9223372036854775807"});
    expect_refused(replay("run", 1, "--parallel.lanes 2"), 64, {"--parallel.lanes"});
    expect_refused(run_skein(words("replay --data " + out("data"))), 64, {"--run"});
}

}  // namespace
}  // namespace skein
