// A run on every grid of data- and tensor-parallel ranks: the same run to rounding, and the same bits for one
// number of tensor-parallel ranks; a checkpoint of any grid goes on on any other.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace skein {
namespace {

using Json = nlohmann::json;

constexpr int kSteps = 100, kHalf = 50;

struct Grid {
    int data = 1, tensor = 1;
    bool sequence = false;
    int ranks() const { return data * tensor; }
    std::string options() const {
        return "--parallel.tensor " + std::to_string(tensor) + " --parallel.sequence " +
               (sequence ? "true" : "false");
    }
    std::string name() const {
        return std::to_string(data) + "x" + std::to_string(tensor) + (sequence ? "s" : "");
    }
};

/// A kind of model, with its data and its options. Four heads; neither the vocabulary nor the feed-forward
/// width divides by the ranks.
struct Kind {
    std::string name, prepare, train;
    friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

struct Hashes {
    std::string parameters, state;
    friend bool operator==(const Hashes&, const Hashes&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Hashes& hashes) {
        return out << "parameters " << hashes.parameters << ", state " << hashes.state;
    }
};

class Grids : public testing::TestWithParam<Kind> {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        const std::string text = pseudo_text(20'000);
        write(*folder_ / "text.txt", text);
        std::string target;
        for (const std::string& line : lines_of(text))
            target += std::string(line.rbegin(), line.rend()) + "\n";
        write(*folder_ / "target.txt", target);
    }
    static void TearDownTestSuite() { delete folder_; }

    void SetUp() override {
        std::string line = GetParam().prepare + " --out " + data();
        for (const char* file : {"text.txt", "target.txt"})
            if (const std::size_t at = line.find(file); at != std::string::npos)
                line.insert(at, *folder_ / "");
        if (std::filesystem::exists(data())) return;
        const Outcome prepared = run_skein(words("prepare " + line));
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
    }

    static std::string data() { return *folder_ / (GetParam().name + "-data"); }
    static std::string out(const std::string& run) { return *folder_ / (GetParam().name + "-" + run); }

    /// Trains, or goes on with, a run up to `steps`.
    static void expect_finish(const std::string& run, const Grid& grid, int steps,
                              const std::string& more = "") {
        const Outcome outcome = run_skein(
            words("train --data " + data() + " --out " + out(run) + " --train.steps " +
                  std::to_string(steps) + " --schedule.horizon " + std::to_string(kSteps) +
                  " --model.width 32 --model.heads 4 --model.ff 68 --model.dropout 0.1 --parallel.lanes 4 "
                  "--parallel.threads 1 --checkpoint.every 0 --eval.every 50 " +
                  grid.options() + " " + GetParam().train + " " + more),
            grid.ranks());
        ASSERT_EQ(outcome.code, 0) << run << ": " << outcome.errors;
    }

    /// Of the newest checkpoint.
    static Hashes hashes_of(const std::string& run) {
        const Outcome inspected = run_skein({"inspect", out(run), "--json"});
        EXPECT_EQ(inspected.code, 0) << inspected.errors;
        if (inspected.code != 0) return {};
        const Json json = Json::parse(inspected.out);
        return {json["parameters"], json["state"]};
    }
    /// Losses by step, evaluations among them.
    static std::vector<double> losses_of(const std::string& run) {
        std::vector<double> losses;
        for (const std::string& line : lines_of(contents(out(run) + "/log.jsonl"))) {
            const Json json = Json::parse(line);
            losses.push_back(json.contains("loss") ? json["loss"].get<double>()
                                                   : json["valid_loss"].get<double>());
        }
        return losses;
    }
    /// fp32 sums in another order, through 100 updates.
    static void expect_alike(const std::vector<double>& found, const std::vector<double>& wanted,
                             std::size_t first = 0) {
        ASSERT_EQ(found.size() + first, wanted.size());
        for (std::size_t i = 0; i < found.size(); ++i)
            EXPECT_NEAR(found[i], wanted[first + i], 1e-4 * wanted[first + i]) << "line " << i;
    }

    static TemporaryFolder* folder_;
};
TemporaryFolder* Grids::folder_;

INSTANTIATE_TEST_SUITE_P(
    , Grids,
    testing::Values(Kind{"Decoder", "--text text.txt --tokenizer bytes",
                         "--model.layers 2 --model.context 16 --train.batch 12"},
                    Kind{"EncoderDecoder",
                         "--source text.txt --target target.txt --vocab 317 --max-length 40 "
                         "--valid-fraction 0.1",
                         "--model.kind encoder-decoder --model.layers 1 --model.context 48 --model.norm post "
                         "--model.position sinusoidal --train.batch-tokens 120 --train.long-pairs truncate "
                         "--train.label-smoothing 0.1"}),
    [](const auto& kind) { return kind.param.name; });

TEST_P(Grids, AreOneRunToRoundingAndBitByBitForOneNumberOfTensorRanks) {
    expect_finish("1x1", {}, kSteps);
    const std::vector<double> wanted = losses_of("1x1");
    ASSERT_EQ(wanted.size(), kSteps + 2u);
    EXPECT_LT(wanted.back(), 0.95 * wanted.front());
    for (const bool sequence : {false, true}) {
        const Grid alone{1, 2, sequence}, twice{2, 2, sequence}, four{1, 4, sequence};
        for (const Grid& grid : {alone, twice, four}) {
            SCOPED_TRACE(grid.name());
            expect_finish(grid.name(), grid, kSteps);
            const std::vector<double> losses = losses_of(grid.name());
            expect_alike(losses, wanted);
            // before any update: the same initial values, data and dropout masks
            EXPECT_NEAR(losses[0], wanted[0], 1e-6 * wanted[0]);
        }
        EXPECT_EQ(hashes_of(twice.name()), hashes_of(alone.name()));
        EXPECT_EQ(losses_of(twice.name()), losses_of(alone.name()));
        EXPECT_NE(hashes_of(four.name()), hashes_of(alone.name()));
    }
}

TEST_P(Grids, RecomputeGivesTheSameBits) {
    for (const Grid& grid : {Grid{2, 1}, Grid{1, 2, true}})
        for (const char* recompute : {"attention", "block"}) {
            SCOPED_TRACE(grid.name() + " " + recompute);
            const std::string run = grid.name() + "-half";
            if (!std::filesystem::exists(out(run))) expect_finish(run, grid, kHalf);
            const std::string again = run + "-" + recompute;
            expect_finish(again, grid, kHalf, std::string("--train.recompute ") + recompute);
            EXPECT_EQ(hashes_of(again), hashes_of(run));
            EXPECT_EQ(losses_of(again), losses_of(run));
        }
}

TEST_P(Grids, LoadEachOthersCheckpoints) {
    expect_finish("whole", {}, kSteps);
    expect_finish("saved", {2, 2, true}, kHalf);
    const Hashes saved = hashes_of("saved");
    const std::vector<double> wanted = losses_of("whole");
    std::string last = "saved";
    for (const Grid& grid : {Grid{1, 1}, Grid{4, 1}, Grid{1, 4}, Grid{2, 2}}) {
        SCOPED_TRACE("from " + last + " to " + grid.name());
        // moved: loaded, and saved by the other grid as it is
        const std::string moved = "moved-" + grid.name();
        expect_finish(moved, grid, kHalf, "--resume " + out(last));
        EXPECT_EQ(hashes_of(moved), saved);
        // and gone on with
        const std::string on = "on-" + grid.name();
        expect_finish(on, grid, kSteps, "--resume " + out(moved));
        expect_alike(losses_of(on), wanted, kHalf + 1);
        last = moved;
    }
}

TEST_P(Grids, EvaluateAsTheWholeDoes) {
    expect_finish("evaluated", {1, 2}, kHalf);
    const auto loss = [&](int ranks, const std::string& tensor) {
        const Outcome outcome =
            run_skein(words("evaluate --json --checkpoint " + out("evaluated") + " --data " + data() +
                            " --train.long-pairs truncate --parallel.threads 1 --parallel.tensor " + tensor),
                      ranks);
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        return outcome.code == 0 ? Json::parse(outcome.out)["valid_loss"].get<double>() : 0.0;
    };
    const double trained = losses_of("evaluated").back(), alone = loss(1, "1");
    EXPECT_EQ(loss(2, "2"), trained);
    EXPECT_EQ(loss(4, "2"), trained);
    EXPECT_EQ(loss(2, "1"), alone);
    EXPECT_NEAR(loss(4, "4"), alone, 1e-6 * alone);
    EXPECT_NEAR(trained, alone, 1e-6 * alone);
}

TEST_P(Grids, RefuseWhatRanksCannotShare) {
    const auto refusal = [&](const std::string& more, int ranks) {
        const Outcome outcome =
            run_skein(words("train --data " + data() + " --out " + out("refused") +
                            " --model.width 32 --model.heads 4 " + GetParam().train + " " + more),
                      ranks);
        EXPECT_EQ(outcome.code, 64) << outcome.errors;
        return outcome.errors;
    };
    EXPECT_NE(refusal("--parallel.tensor 3", 3).find("--parallel.tensor: found 3, but --model.heads is 4"),
              std::string::npos);
    EXPECT_NE(refusal("--parallel.tensor 2", 3).find("does not divide the 3 ranks"), std::string::npos);
}

}  // namespace
}  // namespace skein
