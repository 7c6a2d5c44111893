// Options in combination, through the program on GPUs: a table in which every two values that may stand
// together do so. Here the GPU is the one of tests/support, on the CPU. Each row is a run that saves
// half-way, which is compared with the plainest run of the same model, and gone on with in another layout.
// What does not depend on the device is in the trainer's own table.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"
#include "tests/support/all_pairs.h"
#include "tests/support/program.h"
#include "tests/trainer/small_run.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kHalf = 2, kSteps = 4;

/// "ranks" are data-parallel ones; all else are options.
const std::vector<Axis> kAxes{
    {"ranks", {"1", "2", "3"}},
    {"parallel.tensor", {"1", "2"}},
    {"parallel.sequence", {"false", "true"}},
    {"parallel.zero", {"0", "1"}},
    {"parallel.reduction", {"lanes", "fast"}},
    {"parallel.transport", {"mpi", "nccl"}},
    {"parallel.overlap", {"true", "false"}},
    {"train.precision", {"fp32", "bf16", "fp16"}},
    {"train.recompute", {"none", "attention", "block"}},
    {"train.micro-batch", {"0", "1"}},
    {"model.kind", {"decoder", "encoder-decoder"}},
    {"model.norm", {"pre", "post"}},
    {"checkpoint.background", {"true", "false"}},
    {"checkpoint.audit", {"0", "1"}},
    {"eval.every", {"2", "0"}},
    {"log.hash", {"0", "2"}},
};

bool may_stand(const AxisValue& one, const AxisValue& other) {
    const AxisValue fast{"parallel.reduction", "fast"};
    if (one != fast && other != fast) return true;
    const AxisValue& beside = one == fast ? other : one;
    return beside != AxisValue{"parallel.zero", "1"} && beside != AxisValue{"parallel.tensor", "2"};
}

/// The same run in a layout of which as much differs as may.
Row elsewhere(const Row& row) {
    Row other = row;
    for (const char* name : {"parallel.transport", "parallel.overlap", "train.recompute",
                             "checkpoint.background", "checkpoint.audit", "log.hash"})
        other.values[name] = next_value(kAxes, row, name);
    if (row["parallel.reduction"] == "fast") return row.with({{"train.recompute", other["train.recompute"]}});
    for (const char* name : {"ranks", "parallel.zero"}) other.values[name] = next_value(kAxes, row, name);
    return other;
}

/// The same run as plain as it can be.
Row plain(const Row& row) {
    return row.with({{"ranks", "1"},
                     {"parallel.zero", "0"},
                     {"parallel.transport", "mpi"},
                     {"parallel.overlap", "false"},
                     {"train.recompute", "none"},
                     {"checkpoint.background", "false"},
                     {"checkpoint.audit", "0"},
                     {"log.hash", "0"}});
}

struct Trained {
    CheckpointInspection last;
    std::vector<double> losses;  ///< of steps and evaluations, in the order of the log
};

class DeviceCombinations : public testing::TestWithParam<Row> {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        for (const char* kind : {"decoder", "encoder-decoder"}) fs::create_directory(*folder_ / kind);
        for (const char* part : {"train", "valid"}) {
            write_small_shard(*folder_ / "decoder", part, 100, 1);
            write_small_pairs(*folder_ / "encoder-decoder", part, 8);
        }
    }
    static void TearDownTestSuite() { delete folder_; }

    Trained train(const Row& row, const std::string& run) {
        std::string line = "train --device cuda --data " + *folder_ / row["model.kind"] + " --out " +
                           out_ / run +
                           " --model.layers 1 --model.width 16 --model.heads 2 --model.context 16"
                           " --model.dropout 0.1 --train.batch 4 --parallel.lanes 4 --parallel.threads 1"
                           " --train.loss-scale-start 4294967296 --train.loss-scale-backoff 0.0000001"
                           " --train.loss-scale-interval 2 --schedule.peak 0.01 --checkpoint.keep 9"
                           " --checkpoint.every " +
                           std::to_string(kHalf) + " --train.steps " + std::to_string(kSteps);
        for (const auto& [name, value] : row.values)
            if (name != "ranks") line += " --" + name + " " + value;
        const int ranks = std::stoi(row["ranks"]) * std::stoi(row["parallel.tensor"]);
        RunningProgram program(words(line), ranks, "export NCCL_HOSTID=$OMPI_COMM_WORLD_RANK;");
        const Outcome outcome = program.wait(240);  // six ranks may share two processors
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        for (const char* word : {"error", "warning", "not saved", "may differ", "skein train: "})
            EXPECT_EQ(outcome.errors.find(word), std::string::npos) << outcome.errors;
        Trained trained{inspect_checkpoint(out_ / run + "/checkpoints/" + checkpoint_name(kSteps)), {}};
        for (const CheckpointFault& fault : trained.last.faults) ADD_FAILURE() << fault.line();
        for (const std::string& text : lines_of(contents(out_ / run + "/log.jsonl"))) {
            const Json json = Json::parse(text);
            const Json& loss = json[json.contains("loss") ? "loss" : "valid_loss"];
            trained.losses.push_back(loss.is_number() ? loss.get<double>() : NAN);
        }
        return trained;
    }

    static void expect_same(const Trained& found, const Trained& wanted) {
        EXPECT_EQ(found.last.parameters_hash, wanted.last.parameters_hash);
        EXPECT_EQ(found.last.state_hash, wanted.last.state_hash);
        EXPECT_EQ(found.losses, wanted.losses);
    }

    static TemporaryFolder* folder_;
    TemporaryFolder out_;
};
TemporaryFolder* DeviceCombinations::folder_;

/// All of the table where SKEIN_TEST_ALL_ROWS is 1, else its first rows, which have the most pairs.
std::vector<Row> rows() {
    std::vector<Row> rows = all_pairs(kAxes, may_stand);
    const char* all = std::getenv("SKEIN_TEST_ALL_ROWS");
    if (!all || *all != '1') rows.resize(4);
    return rows;
}

INSTANTIATE_TEST_SUITE_P(Row, DeviceCombinations, testing::ValuesIn(rows()));

TEST_P(DeviceCombinations, AreOneRunInEveryLayout) {
    const Row& row = GetParam();
    const Trained whole = train(row, "run");
    ASSERT_GT(whole.losses.size(), std::size_t{kSteps}) << "one evaluation at least";
    for (const double loss : whole.losses) EXPECT_TRUE(std::isfinite(loss)) << loss;
    EXPECT_NE(whole.losses.back(), whole.losses.front());
    if (row["parallel.reduction"] != "fast" || row["ranks"] == "1") {
        SCOPED_TRACE(testing::Message() << "the plainest run: " << plain(row));
        expect_same(train(plain(row), "plain"), whole);
    }
    SCOPED_TRACE(testing::Message() << "gone on with by " << elsewhere(row));
    for (const auto& entry : fs::directory_iterator(out_ / "run/checkpoints"))
        if (entry.path().filename().string() > checkpoint_name(kHalf)) fs::remove_all(entry);
    expect_same(train(elsewhere(row), "run"), whole);
}

}  // namespace
}  // namespace skein
