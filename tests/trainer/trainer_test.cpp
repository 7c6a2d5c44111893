#include "checkpoint/manifest.h"
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

}  // namespace
}  // namespace skein
