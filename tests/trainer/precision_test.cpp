// Training in bf16 and fp16: it learns, its bits do not depend on threads, ranks or restarts, and the loss
// scale of fp16 finds its way.
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_training.h"
#include "tests/trainer/trainer_fixture.h"

namespace skein {
namespace {

using Json = nlohmann::json;

TEST(Precision, GivesTheSameBitsForAnyNumberOfThreadsAndRanks) {
    for (const char* precision : {"bf16", "fp16"}) {
        SCOPED_TRACE(precision);
        // a scale at which the first steps overflow, one rank's lanes alone or all of them
        const RunConfig config =
            small_config({{"train.precision", precision}, {"train.loss-scale-start", "1e8"}});
        Training one(config);
        std::vector<double> losses, norms;
        std::int64_t updates = 0;
        for (int i = 0; i < 14; ++i) {
            const StepOutcome outcome = one.run(i);
            updates += !outcome.skipped;
            EXPECT_EQ(outcome.updates, updates);
            losses.push_back(outcome.loss);
            norms.push_back(outcome.gradient_norm);
        }
        const std::vector<float> wanted = values_of(one.parameters());
        const auto expect_same = [&](Training& other) {
            for (std::size_t i = 0; i < losses.size(); ++i) {
                const StepOutcome outcome = other.run(static_cast<std::int64_t>(i));
                EXPECT_EQ(outcome.loss, losses[i]);
                if (!outcome.skipped) {
                    EXPECT_EQ(outcome.gradient_norm, norms[i]);
                }
            }
            EXPECT_TRUE(same_bits(values_of(other.parameters()), wanted));
            EXPECT_EQ(other.step.loss_scale(), one.step.loss_scale());
        };
        Training threads(config, 3);
        expect_same(threads);
        for (const int ranks : {2, 3, 4})
            on_ranks(ranks, [&](Communicator& data) {
                Training rank(config, 1, &data);
                expect_same(rank);
            });
        if (config.train.precision == Precision::kFp16) {
            EXPECT_LT(updates, 14) << "some were skipped";
        }
    }
}

TEST(Precision, MasterWeightsTakeUpdatesThatAreTooSmallForBf16) {
    Training training(small_config({{"train.precision", "bf16"},
                                    {"schedule.kind", "constant"},
                                    {"schedule.peak", "1e-6"},
                                    {"schedule.warmup", "0"}}));
    const Leaf& leaf = training.parameters()[0].leaf;
    const std::vector<float> before(leaf.value.span<float>().begin(), leaf.value.span<float>().end());
    for (int i = 0; i < 3; ++i) training.run(i);
    std::size_t moved = 0, of_copy = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        moved += leaf.value.span<float>()[i] != before[i];
        of_copy += leaf.copy.span<Bf16>()[i] != to_bf16(before[i]);
        ASSERT_EQ(leaf.copy.span<Bf16>()[i], to_bf16(leaf.value.span<float>()[i])) << "rounded after each";
    }
    EXPECT_GT(moved, before.size() / 2);
    EXPECT_LT(of_copy, before.size() / 10) << "a step of 1e-6 is some 2^-15 of a weight";
}

TEST(Precision, LossScaleIsTakenOutOfNormAndUpdate) {
    // powers of two: without under- and overflow no bit depends on the scale
    const auto after = [](const char* scale) {
        Training training(small_config({{"train.precision", "fp16"}, {"train.loss-scale-start", scale}}));
        std::vector<double> norms;
        for (int i = 0; i < 3; ++i) norms.push_back(training.run(i).gradient_norm);
        return std::pair(norms, values_of(training.parameters()));
    };
    const auto [norms, values] = after("4096");
    const auto [other_norms, other_values] = after("16384");
    // what is subnormal at the one and not at the other is a few millionths of the gradient
    for (std::size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(other_norms[i], norms[i], 1e-4 * norms[i]);
    EXPECT_LT(norms[0], 10.0);
}

class PrecisionTest : public TrainerTest {
  protected:
    std::vector<Json> steps() const {
        std::vector<Json> all;
        std::ifstream in(folder_ / "run/log.jsonl");
        for (std::string line; std::getline(in, line);)
            if (Json json = Json::parse(line); json.contains("loss")) all.push_back(std::move(json));
        return all;
    }
    RunState state(int step) const {
        char name[32];
        std::snprintf(name, sizeof name, "step-%08d", step);
        return read_manifest(folder_ / ("run/checkpoints/" + std::string(name))).run;
    }
};

TEST_F(PrecisionTest, LearnsWhatRepeats) {
    double fp32 = 0.0;
    for (const char* precision : {"fp32", "bf16", "fp16"}) {
        std::filesystem::remove_all(folder_ / "run");
        const TrainResult result = train({{"train.precision", precision},
                                          {"train.steps", "40"},
                                          {"model.dropout", "0"},
                                          {"eval.every", "20"},
                                          {"checkpoint.keep", "1"},
                                          {"schedule.peak", "0.01"}});
        ASSERT_TRUE(result.evaluation);
        if (fp32 == 0.0) fp32 = result.evaluation->loss;
        EXPECT_LT(fp32, 2.0) << "ln 20 = 3.0 is what knows nothing";
        EXPECT_NEAR(result.evaluation->loss, fp32, 0.05) << precision;
        EXPECT_EQ(steps().front().contains("loss_scale"), std::string(precision) == "fp16");
    }
}

// At this scale the gradient of the logits is past 65504 until it was halved some times.
const Settings kPlanted{{"train.precision", "fp16"},
                        {"train.loss-scale-start", "4294967296"},
                        {"train.loss-scale-interval", "6"},
                        {"train.max-skipped", "2"},
                        {"model.dropout", "0"},
                        {"eval.every", "10"},
                        {"checkpoint.every", "5"},
                        {"checkpoint.keep", "20"},
                        {"schedule.peak", "0.01"},
                        {"train.steps", "40"}};

TEST_F(PrecisionTest, AnOverflowHalvesTheScaleSkipsRecoversAndIsLogged) {
    const TrainResult result = train(kPlanted);
    EXPECT_EQ(result.step, 40) << "more overflows in a row than max-skipped are no trouble";
    const std::vector<Json> log = steps();
    ASSERT_EQ(log.size(), 40u);
    std::uint64_t skipped = 0, good = 0;
    bool grown = false;
    for (std::size_t i = 0; i < log.size(); ++i) {
        const double scale = log[i]["loss_scale"], rate = log[i]["learning_rate"];
        const bool skips = log[i].value("skipped", false);
        if (i == 0) {
            EXPECT_EQ(scale, 4294967296.0);
            EXPECT_TRUE(skips);
        }
        skipped += skips;
        good = skips ? 0 : good + 1;
        if (i + 1 == log.size()) break;
        const double next = log[i + 1]["loss_scale"];
        if (skips) {
            EXPECT_EQ(next, scale / 2.0) << "step " << i + 1;
            EXPECT_TRUE(log[i]["gradient_norm"].is_null());
            EXPECT_EQ(log[i + 1]["learning_rate"], rate) << "the schedule stands still";
        } else if (good == 6) {
            EXPECT_EQ(next, scale * 2.0) << "step " << i + 1;
            grown = true, good = 0;
        } else {
            EXPECT_EQ(next, scale) << "step " << i + 1;
        }
    }
    EXPECT_TRUE(grown);
    EXPECT_GE(skipped, 5u);
    EXPECT_LE(skipped, 25u);
    const RunState end = state(40);
    EXPECT_EQ(end.updates, 40 - skipped);
    EXPECT_NE(std::ranges::find(end.skips, std::pair<std::string, std::uint64_t>("overflow", skipped)),
              end.skips.end());
    EXPECT_NE(lines_.find("loss scale 4.29497e+09, from now on 2.14748e+09"), std::string::npos) << lines_;
    EXPECT_LT(log.back()["loss"].get<double>(), 2.7) << "it learns";
}

TEST_F(PrecisionTest, TheLossScaleSurvivesARestart) {
    train(kPlanted);
    const std::vector<Json> whole = steps();
    const RunState wanted = state(40), middle = state(15);
    EXPECT_LT(middle.loss_scale.scale, 4294967296.0);
    EXPECT_GT(middle.loss_scale.good_steps + middle.loss_scale.overflows, 0u);
    const std::string hash =
        read_manifest(folder_ / "run/checkpoints/step-00000040").tensors[0].pieces[0].hash;
    for (int step = 20; step <= 40; step += 5) {  // the run never came this far
        char name[64];
        std::snprintf(name, sizeof name, "run/checkpoints/step-%08d", step);
        std::filesystem::remove_all(folder_ / name);
    }
    train(kPlanted);
    EXPECT_NE(lines_.find("at step 15"), std::string::npos) << lines_;
    const RunState found = state(40);
    EXPECT_EQ(found.loss_scale, wanted.loss_scale);
    EXPECT_EQ(found.updates, wanted.updates);
    EXPECT_EQ(read_manifest(folder_ / "run/checkpoints/step-00000040").tensors[0].pieces[0].hash, hash);
    const std::vector<Json> resumed = steps();
    ASSERT_EQ(resumed.size(), whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
        EXPECT_EQ(resumed[i]["loss_scale"], whole[i]["loss_scale"]);
        EXPECT_EQ(resumed[i]["loss"], whole[i]["loss"]);
    }
}

TEST_F(PrecisionTest, TroubleAtTheLeastScaleEndsTheRun) {
    // a rate that makes weights infinite: no scale helps
    Settings settings = kPlanted;
    for (auto& [name, value] : settings) {
        if (name == "train.loss-scale-start") value = "4";
        if (name == "schedule.peak") value = "1e38";
    }
    settings.insert(settings.end(),
                    {{"train.clip", "0"}, {"schedule.warmup", "0"}, {"schedule.kind", "constant"}});
    EXPECT_THROW(train(settings), Error);
    const std::vector<Json> log = steps();
    EXPECT_LT(log.size(), 20u);
    EXPECT_EQ(log.back()["loss_scale"], 1.0);
    EXPECT_EQ(log[log.size() - 2]["loss_scale"], 1.0) << "max-skipped is 2";
}

TEST_F(PrecisionTest, ARunMayBeResumedInAnotherPrecision) {
    Settings settings{{"train.precision", "fp32"}, {"train.steps", "10"}, {"checkpoint.every", "0"}};
    train(settings);
    settings[0].second = "fp16", settings[1].second = "12";
    train(settings);
    EXPECT_NE(lines_.find("train.precision: fp32 before, fp16 now"), std::string::npos) << lines_;
    EXPECT_EQ(steps().back()["loss_scale"], 65536.0) << "it starts as in a new run";
    settings[0].second = "bf16", settings[1].second = "14";
    EXPECT_EQ(train(settings).step, 14);
    EXPECT_EQ(state(14).loss_scale, LossScaleState{});
}

}  // namespace
}  // namespace skein
