#include <cerrno>
#include <chrono>
#include <thread>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "model/base/error.h"
#include "tests/trainer/trainer_fixture.h"

namespace skein {
namespace {

// A rate too small to change a parameter: the first evaluation stays the best one.
const Settings kStandStill{{"schedule.kind", "constant"}, {"schedule.peak", "1e-30"},
                           {"schedule.warmup", "0"},      {"optimizer.weight-decay", "0"},
                           {"eval.every", "2"},           {"checkpoint.every", "1"},
                           {"checkpoint.keep", "1"}};

TEST_F(TrainerTest, StopsEarlyAndKeepsTheBestCheckpoint) {
    Settings settings = kStandStill;
    settings.emplace_back("eval.patience", "2");
    EXPECT_EQ(train(settings).step, 6) << "best at 2; 4 and 6 are no better";
    EXPECT_NE(lines_.find("stopped early"), std::string::npos) << lines_;
    EXPECT_EQ(checkpoints(), (std::set<std::string>{"step-00000002", "step-00000006"}));
    EXPECT_EQ(train(settings).step, 6) << "started again, it is still over";
    settings.back().second = "3";
    EXPECT_EQ(train(settings).step, 8) << "unless more patience is given";
}

TEST_F(TrainerTest, GoesOnWithoutPatience) {
    Settings settings = kStandStill;
    settings.emplace_back("train.steps", "12");
    EXPECT_EQ(train(settings).step, 12);
    EXPECT_EQ(checkpoints(), (std::set<std::string>{"step-00000002", "step-00000012"}));
}

TEST_F(TrainerTest, GoesOnFromACheckpointAsIfNothingHadHappened) {
    const Settings settings{{"train.steps", "12"}, {"checkpoint.every", "5"}, {"schedule.peak", "0.01"}};
    train(settings);
    const std::string last = folder_ / "run/checkpoints/step-00000012";
    const Manifest whole = read_manifest(last);
    std::filesystem::remove_all(last);
    std::filesystem::remove_all(folder_ / "run/checkpoints/step-00000010");
    EXPECT_EQ(train(settings).step, 12);
    EXPECT_NE(lines_.find("at step 5"), std::string::npos) << lines_;
    const Manifest resumed = read_manifest(last);
    EXPECT_EQ(resumed.run.updates, 12u);
    EXPECT_EQ(resumed.run.place, whole.run.place);
    ASSERT_EQ(resumed.tensors.size(), whole.tensors.size());
    for (std::size_t i = 0; i < whole.tensors.size(); ++i)
        EXPECT_EQ(resumed.tensors[i].pieces[0].hash, whole.tensors[i].pieces[0].hash)
            << whole.tensors[i].name;
}

/// Has no room for what belongs to one step.
class FullAtAStep final : public FileSystem {
  public:
    explicit FullAtAStep(std::uint64_t step) : name_(checkpoint_name(step) + ".tmp") {}
    int before_library_write(const char* path) override {
        if (std::string_view(path).find(name_) == std::string_view::npos) return 0;
        errno = ENOSPC;
        return -1;
    }

  private:
    std::string name_;
};

TEST_F(TrainerTest, ABestCheckpointThatCannotBeSavedIsNotTheBest) {
    FullAtAStep full(2);
    files_ = &full;
    Settings settings = kStandStill;
    settings.insert(settings.end(), {{"eval.patience", "2"}, {"checkpoint.background", "false"}});
    for (const char* background : {"false", "true"}) {
        settings.back().second = background;
        EXPECT_EQ(train(settings).step, 8) << "4 is as good as 2 was, and 6 and 8 are no better";
        EXPECT_NE(lines_.find("checkpoint of step 2 was not saved: rank 0: "), std::string::npos) << lines_;
        EXPECT_EQ(checkpoints(), (std::set<std::string>{"step-00000004", "step-00000008"}));
        const RunState run = read_manifest(folder_ / "run/checkpoints/step-00000008").run;
        EXPECT_EQ(run.best->step, 4u);
        EXPECT_EQ(run.patience, 2u);
        std::filesystem::remove_all(folder_ / "run");
    }
}

TEST_F(TrainerTest, ALastCheckpointThatCannotBeSavedIsAnError) {
    FullAtAStep full(6);
    files_ = &full;
    for (const char* background : {"false", "true"})
        for (const char* every : {"6", "0"}) {
            const Settings settings{{"train.steps", "6"},
                                    {"eval.every", "4"},
                                    {"checkpoint.every", every},
                                    {"checkpoint.background", background}};
            try {
                train(settings);
                ADD_FAILURE() << "no error";
            } catch (const IoError& error) {
                EXPECT_NE(std::string(error.what()).find("the last checkpoint could not be saved: rank 0: "),
                          std::string::npos)
                    << error.what();
            }
            EXPECT_EQ(checkpoints(), (std::set<std::string>{"step-00000004"}));
            std::filesystem::remove_all(folder_ / "run");
        }
}

TEST_F(TrainerTest, SavesWhenTheClockSaysSo) {
    std::chrono::steady_clock::time_point first;
    on_step_ = [&](const TrainProgress& at) {  // the third step takes until a second has gone by
        const auto now = [] { return std::chrono::steady_clock::now(); };
        if (at.step == 1) first = now();
        while (at.step == 3 && now() < first + std::chrono::seconds(1)) std::this_thread::yield();
    };
    const Settings settings{
        {"train.steps", "8"}, {"eval.every", "0"}, {"checkpoint.every", "1s"}, {"checkpoint.keep", "9"}};
    train(settings);
    EXPECT_TRUE(checkpoints().contains("step-00000008"));
    EXPECT_GE(checkpoints().size(), 2u) << "one after the third step, or before it where steps take so long";
}

TEST_F(TrainerTest, StopsForItsTimeLimitWithACheckpointAndGoesOnFromIt) {
    const TrainResult stopped = train({{"train.steps", "1000000000"},
                                       {"schedule.horizon", "10"},
                                       {"eval.every", "0"},
                                       {"checkpoint.every", "0"},
                                       {"train.time-limit", "1s"}});
    EXPECT_EQ(stopped.end, TrainEnd::kStopped);
    EXPECT_GE(stopped.step, 1) << "however short the limit";
    EXPECT_NE(lines_.find("stopped: 1s of --train.time-limit are nearly over\n"), std::string::npos)
        << lines_;
    EXPECT_EQ(checkpoints().size(), 1u);
    const std::string next = std::to_string(stopped.step + 2);
    const TrainResult finished = train({{"train.steps", next}, {"train.time-limit", "0"}});
    EXPECT_EQ(finished.end, TrainEnd::kFinished);
    EXPECT_NE(lines_.find("at step " + std::to_string(stopped.step) + "\n"), std::string::npos) << lines_;
    EXPECT_EQ(lines_.find("time-limit"), std::string::npos) << "it is free to change: " << lines_;
}

TEST_F(TrainerTest, LearnsWhatRepeats) {
    const TrainResult result = train({{"train.steps", "40"},
                                      {"model.dropout", "0"},
                                      {"eval.every", "20"},
                                      {"checkpoint.keep", "1"},
                                      {"schedule.peak", "0.01"}});
    EXPECT_EQ(result.end, TrainEnd::kFinished);
    ASSERT_TRUE(result.evaluation);
    EXPECT_LT(result.evaluation->loss, 2.0) << "ln 20 = 3.0 is what knows nothing";
    EXPECT_EQ(result.checkpoint, folder_ / "run/checkpoints/step-00000040");
}

/// Steps of the lines of a file in OUT that have a word.
std::vector<int> steps_with(const std::string& path, const std::string& word) {
    std::vector<int> steps;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);)
        if (line.find(word) != std::string::npos) steps.push_back(std::stoi(line.substr(line.find(':') + 1)));
    return steps;
}

TEST_F(TrainerTest, HashesTheParametersWhenItIsDueAtTheLastStepAndWhereItSaves) {
    Settings settings{
        {"train.steps", "12"}, {"checkpoint.every", "5"}, {"log.hash", "4"}, {"eval.every", "0"}};
    train(settings);
    EXPECT_EQ(steps_with(folder_ / "run/log.jsonl", "parameters"), (std::vector{4, 8, 12}));
    EXPECT_EQ(steps_with(folder_ / "run/hashes.jsonl", "tensors"), (std::vector{4, 5, 8, 10, 12}));
    const std::string whole = contents_of("hashes.jsonl");
    std::filesystem::remove_all(folder_ / "run/checkpoints/step-00000012");
    train(settings);
    EXPECT_EQ(contents_of("hashes.jsonl"), whole) << "resumed from step 10";
}

TEST_F(TrainerTest, HashesNothingUnlessAsked) {
    train({{"train.steps", "4"}, {"log.hash", "0"}, {"eval.every", "0"}});
    EXPECT_EQ(contents_of("hashes.jsonl"), "");
    EXPECT_EQ(contents_of("log.jsonl").find("parameters"), std::string::npos);
}

TEST_F(TrainerTest, IsNotBegunAnewWhereCheckpointsCannotBeListed) {
    train({{"train.steps", "2"}});
    const std::string log = contents_of("log.jsonl");
    std::filesystem::rename(folder_ / "run/checkpoints", folder_ / "aside");
    std::ofstream(folder_ / "run/checkpoints") << "no folder";
    EXPECT_THROW(train({{"train.steps", "2"}}), IoError);
    EXPECT_EQ(contents_of("log.jsonl"), log);
}

}  // namespace
}  // namespace skein
