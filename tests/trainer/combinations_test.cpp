// Options in combination, through the whole trainer: a table in which every two values that may stand
// together do so. Each row is a run that saves half-way, which is compared with the plainest run of the same
// model, gone on with in other layouts and with other options, replayed, evaluated from what it saved, and
// what another run begins with.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"
#include "model/base/files.h"
#include "parallel/agreement.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/combinations.h"
#include "tests/trainer/small_run.h"
#include "trainer/evaluation.h"
#include "trainer/model_state.h"
#include "trainer/replay.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// The table, or, where SKEIN_TEST_PRODUCT is 1, a longer one.
std::vector<Row> rows() {
    const char* product = std::getenv("SKEIN_TEST_PRODUCT");
    return product && *product == '1' ? product_rows() : pairwise_rows();
}

/// What a run came to.
struct Outcome {
    CheckpointInspection last;   ///< its checkpoint at the end
    std::vector<double> losses;  ///< of steps and evaluations, in the order of the log
    std::int64_t updates = 0;
    std::optional<Evaluation> evaluation;
};

/// Does not wait for the disk.
class NotDurable final : public FileSystem {
    int fsync(int) override { return 0; }
};

class Combinations : public testing::TestWithParam<Row> {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        fs::create_directory(*folder_ / "text");
        fs::create_directory(*folder_ / "pairs");
        write_small_shard(*folder_ / "text", "train", 2000, 1);
        write_small_shard(*folder_ / "text", "valid", 200, 1);
        write_small_pairs(*folder_ / "pairs", "train", 120);
        write_small_pairs(*folder_ / "pairs", "valid", 24);
    }
    static void TearDownTestSuite() { delete folder_; }

    static std::string data(const Row& row) { return *folder_ / (is_of_pairs(row) ? "pairs" : "text"); }
    std::string out(const std::string& run) const { return out_ / run; }
    std::string checkpoint(const std::string& run, int step) const {
        return out(run) + "/checkpoints/" + checkpoint_name(static_cast<std::uint64_t>(step));
    }

    TrainRequest request(const Row& row, const std::string& run, int steps, const ThreadGroups& groups) {
        TrainRequest request;
        const Settings settings = settings_of(row, steps);
        request.config = small_config(settings);
        for (const auto& [name, value] : settings) request.given.insert(name);
        request.data = data(row);
        request.out = out(run);
        request.threads = [](int asked) { return asked; };
        request.place = [&groups](const RunConfig&) {
            RankPlace place;
            place.data = &groups.data;
            place.tensor = &groups.tensor;
            return place;
        };
        request.files = &files_;
        request.memory = std::size_t{8} << 30;
        request.memory_of = "the test";
        return request;
    }

    static Together together(Communicator& world) {
        return [&world](const std::function<void()>& part) {
            std::optional<Failure> mine;
            try {
                part();
            } catch (const std::exception& error) {
                mine = Failure{1, error.what()};
            }
            if (const auto failure = agree_on_failure(world, mine))
                throw std::runtime_error(text("rank ", failure->rank, ": ", failure->message));
        };
    }

    TrainObserver observer() {
        TrainObserver observer;
        observer.line = [this](const std::string& line) { lines_.push_back(line); };
        return observer;
    }

    static void on_grid_of(const Row& row, const std::function<void(const ThreadGroups&)>& body) {
        on_grid(std::stoi(row["ranks"]), std::stoi(row["parallel.tensor"]), body);
    }

    /// Trains, or goes on, up to a step, from the weights of another run if one is given, and says nothing
    /// that is not expected. Throws what the run throws.
    Outcome train(const Row& row, const std::string& run, int steps = kSteps, const std::string& init = "") {
        lines_.clear();
        Outcome outcome;
        on_grid_of(row, [&](const ThreadGroups& groups) {
            const StopSignal stop;
            TrainRequest wanted = request(row, run, steps, groups);
            if (!init.empty()) wanted.init = out(init);
            Trainer trainer(std::move(wanted), groups.world, together(groups.world), observer());
            const TrainResult result = trainer.run(stop);
            EXPECT_EQ(result.end, TrainEnd::kFinished);
            EXPECT_EQ(result.step, steps);
            if (groups.world.rank() == 0) outcome.evaluation = result.evaluation;
        });
        expect_usual_lines(row);
        outcome.last = inspect_checkpoint(checkpoint(run, steps));
        EXPECT_TRUE(outcome.last.manifest);
        for (const CheckpointFault& fault : outcome.last.faults) ADD_FAILURE() << fault.line();
        if (outcome.last.manifest)
            outcome.updates = static_cast<std::int64_t>(outcome.last.manifest->run.updates);
        std::ifstream log(out(run) + "/log.jsonl");
        for (std::string line; std::getline(log, line);) {
            const Json json = Json::parse(line);
            const Json& loss = json[json.contains("loss") ? "loss" : "valid_loss"];
            outcome.losses.push_back(loss.is_number() ? loss.get<double>() : NAN);
        }
        return outcome;
    }

    void expect_usual_lines(const Row& row) const {
        for (const std::string& line : lines_) {
            const bool step = line.starts_with("step ");
            EXPECT_TRUE(
                line.starts_with("a pass has ") || line.starts_with("a rank needs ") ||
                line.starts_with("resumed from ") || line.starts_with("weights from ") ||
                (line.starts_with("resumed with another ") && is_changed_) ||
                (step && line.find(": validation loss ") != std::string::npos) ||
                (step && line.find(" skipped: ") != std::string::npos && row["train.precision"] == "fp16") ||
                line.find(" pairs an epoch, ") != std::string::npos ||
                line.find(row["train.long-pairs"] == "drop" ? " pairs are left out: "
                                                            : " pairs are cut to ") != std::string::npos)
                << line;
        }
    }

    /// As if the run had been killed half-way.
    void cut(const std::string& run) const {
        for (const auto& entry : fs::directory_iterator(out(run) + "/checkpoints"))
            if (entry.path().filename().string() > checkpoint_name(kHalf)) fs::remove_all(entry);
    }

    static void expect_same(const Outcome& found, const Outcome& wanted) {
        EXPECT_EQ(found.last.parameters_hash, wanted.last.parameters_hash);
        EXPECT_EQ(found.last.state_hash, wanted.last.state_hash);
        EXPECT_EQ(found.losses, wanted.losses);
        EXPECT_EQ(found.updates, wanted.updates);
    }

    /// Sums in another order: 1e-4 of a loss as everywhere, and in 16 bits some of their last places.
    static double tolerance(const Row& row) {
        const std::string& precision = row["train.precision"];
        return precision == "fp32" ? 1e-4 : precision == "fp16" ? 2e-3 : 1e-2;
    }
    static void expect_alike(const Outcome& found, const Outcome& wanted, const Row& row) {
        ASSERT_EQ(found.losses.size(), wanted.losses.size());
        for (std::size_t i = 0; i < wanted.losses.size(); ++i)
            EXPECT_NEAR(found.losses[i], wanted.losses[i], tolerance(row) * wanted.losses[i]) << i;
        EXPECT_EQ(found.updates, wanted.updates);
    }

    static TemporaryFolder* folder_;
    TemporaryFolder out_;
    NotDurable files_;
    std::vector<std::string> lines_;
    bool is_changed_ = false;  // options are, between the starts of a run
};
TemporaryFolder* Combinations::folder_;

INSTANTIATE_TEST_SUITE_P(Row, Combinations, testing::ValuesIn(rows()));

TEST_P(Combinations, AreOneRunInEveryLayout) {
    const Row& row = GetParam();
    const Row other = elsewhere(row);
    const bool fast = row["parallel.reduction"] == "fast";
    const bool exact = !fast || row["ranks"] == "1";
    const Outcome whole = train(row, "run");
    ASSERT_GE(whole.losses.size(), kSteps + 1u) << "one evaluation at least";
    for (const double loss : whole.losses) EXPECT_TRUE(std::isfinite(loss)) << loss;
    EXPECT_GE(whole.updates, 2);
    EXPECT_EQ(whole.updates < kSteps, row["train.precision"] == "fp16") << "skipped steps";
    EXPECT_NE(whole.losses.back(), whole.losses.front());
    {
        SCOPED_TRACE(testing::Message() << "the plainest run: " << plain(row));
        const Outcome plainest = train(plain(row), "plain");
        if (exact)
            expect_same(plainest, whole);
        else
            expect_alike(plainest, whole, row);
    }
    {
        SCOPED_TRACE(testing::Message() << "replayed by " << other);
        ReplayResult result;
        on_grid_of(other, [&](const ThreadGroups& groups) {
            ReplayRequest again;
            again.run = out("run");
            again.from = std::to_string(kHalf);
            again.train = request(other, "none", kSteps, groups);
            const StopSignal stop;
            const ReplayResult of_rank =
                replay(std::move(again), groups.world, together(groups.world), observer(), stop);
            if (groups.world.rank() == 0) result = of_rank;
        });
        EXPECT_EQ(result.compared, kSteps - kHalf);
    }
    {
        const Row tensor = other.with(
            {{"parallel.tensor", next_value(row, "parallel.tensor")}, {"parallel.reduction", "lanes"}});
        SCOPED_TRACE(testing::Message() << "gone on with by " << tensor);
        fs::copy(out("run"), out("tensor"), fs::copy_options::recursive);
        cut("tensor");
        if (!fast) expect_alike(train(tensor, "tensor"), whole, row);
    }
    {
        SCOPED_TRACE(testing::Message() << "gone on with by " << changed(other));
        fs::copy(out("run"), out("changed"), fs::copy_options::recursive);
        cut("changed");
        cut("plain");
        is_changed_ = true;
        const Outcome found = train(changed(other), "changed"), wanted = train(changed(plain(row)), "plain");
        is_changed_ = false;
        if (exact) expect_same(found, wanted);
    }
    {
        SCOPED_TRACE(testing::Message() << "its weights are what begins " << other);
        const Outcome found = train(other, "begun", 2, "run"),
                      wanted = train(plain(row), "begun plain", 2, "run");
        if (exact) expect_same(found, wanted);
    }
    {
        SCOPED_TRACE(testing::Message() << "gone on with by " << other);
        cut("run");
        expect_same(train(other, "run"), whole);
    }
    on_grid_of(row.with({{"ranks", "1"}}), [&](const ThreadGroups& groups) {
        Stream stream(1);
        const Checkpoint saved = Checkpoint::open(groups.world, checkpoint("run", kSteps));
        TensorSharing sharing;
        std::optional<TensorGroup> shared;
        if (groups.tensor.size() > 1) {
            sharing.group = &shared.emplace(groups.tensor);
            sharing.sequence = row["parallel.sequence"] == "true";
        }
        const auto objective = load_objective(saved, groups.world, stream, sharing);
        const RunConfig config = from_settings(saved.manifest().run.configuration);
        const DataFolder folder = open_data_folder(data(row));
        const Evaluation found = evaluate(
            *objective, stream, groups.data,
            *open_validation_data(folder, config.model, config.train.long_pairs, config.eval.samples));
        EXPECT_EQ(found.loss, whole.losses.back());
        ASSERT_TRUE(whole.evaluation);
        EXPECT_EQ(found.accuracy, whole.evaluation->accuracy);
        EXPECT_EQ(found.tokens, whole.evaluation->tokens);
    });
}

TEST_F(Combinations, EveryTwoValuesStandTogetherOrAreRefused) {
    const std::vector<Row> all = pairwise_rows();
    EXPECT_LE(all.size(), 40u);
    Row first;
    for (const Axis& axis : kAxes) first.values[axis.name] = axis.values.front();
    first.values["parallel.lanes"] = "4";
    first.values["eval.every"] = "2";
    for (std::size_t i = 0; i < kAxes.size(); ++i)
        for (std::size_t j = i + 1; j < kAxes.size(); ++j)
            for (const std::string& one : kAxes[i].values)
                for (const std::string& other : kAxes[j].values) {
                    const bool stands = std::ranges::any_of(all, [&](const Row& row) {
                        return row[kAxes[i].name] == one && row[kAxes[j].name] == other;
                    });
                    EXPECT_EQ(stands, may_stand({kAxes[i].name, one}, {kAxes[j].name, other}))
                        << kAxes[i].name << ' ' << one << ", " << kAxes[j].name << ' ' << other;
                }
    for (const Refused& refused : kRefused) {
        const Row row = first.with({refused.one, refused.other});
        try {
            train(row, "refused");
            ADD_FAILURE() << "not refused: " << row;
        } catch (const std::exception& error) {
            EXPECT_NE(std::string(error.what()).find(refused.line), std::string::npos) << error.what();
        }
        EXPECT_FALSE(fs::exists(out("refused") + "/checkpoints"));
        fs::remove_all(out("refused"));
    }
}

}  // namespace
}  // namespace skein
