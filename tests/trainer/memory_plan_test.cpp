#include "trainer/memory_plan.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/small_run.h"
#include "trainer/evaluation.h"
#include "trainer/training_step.h"

namespace skein {
namespace {

/// A model whose tensors are large beside what kernels take for themselves.
Settings wider(const Settings& changes) {
    Settings settings{{"model.width", "96"}, {"model.context", "32"}, {"train.batch", "32"}};
    for (const auto& change : changes) {
        std::erase_if(settings, [&](const auto& setting) { return setting.first == change.first; });
        settings.push_back(change);
    }
    return settings;
}

class MemoryPlanTest : public testing::Test {
  protected:
    void open_text(const Settings& changes) {
        config_ = small_config(wider(changes));
        config_.train.steps = 2;  // all are alike
        folder_ = small_folder(path_.path(), write_small_shard(path_.path(), "train", 4000, 1), {});
        data_ = open_training_data(folder_, config_);
    }
    void open_pairs(const Settings& changes) {
        config_ = small_pair_config(wider(changes));
        config_.train.steps = 20;
        folder_ =
            small_folder(path_.path(), write_small_pairs(path_.path(), "train", 400), {}, DataKind::kPairs);
        data_ = open_training_data(folder_, config_);
    }
    MemoryPlan plan(int ranks = 1, Device device = Device::cpu, bool queued = false) const {
        return PlannedRun(config_, {ranks, device, queued, 0}, *data_).plan();
    }
    /// What the pool of a real run holds at its end.
    std::size_t measured() const {
        SoloCommunicator alone;
        Stream stream(2);
        const std::unique_ptr<Objective> objective = make_objective(stream, config_.model, 1);
        TrainingStep step(config_, *objective, stream, alone);
        const OwnSamples own = [&](std::int64_t samples) { return step.own_samples(samples); };
        const std::unique_ptr<BatchWalk> walk = data_->walk({}, own);
        for (std::int64_t i = 0; i < config_.train.steps; ++i) step.run(walk->next(), i, 0);
        return stream.pool().statistics().touched;
    }
    /// What the plan does not see: some kernels' scratch, a few rows of a width; and of messages nothing
    /// here.
    void expect_as_measured(double tolerance) const {
        const MemoryPlan whole = plan();
        const auto planned = static_cast<double>(whole.total() - whole.saving),
                   found = static_cast<double>(measured());
        EXPECT_NEAR(planned / found, 1.0, tolerance) << planned << " planned, " << found << " measured";
    }

    TemporaryFolder path_;
    DataFolder folder_;
    RunConfig config_;
    std::unique_ptr<TrainingData> data_;
};

TEST_F(MemoryPlanTest, OfADecoderIsWhatItsStepTakes) {
    for (const char* lanes : {"1", "4"})
        for (const char* pass : {"0", "1", "3"}) {
            SCOPED_TRACE(text("lanes ", lanes, ", micro-batch ", pass));
            open_text({{"parallel.lanes", lanes}, {"train.micro-batch", pass}});
            expect_as_measured(0.005);
        }
    open_text({{"model.layers", "5"}, {"model.width", "48"}, {"model.tie-embeddings", "false"}});
    expect_as_measured(0.005);
}

TEST_F(MemoryPlanTest, OfAnEncoderDecoderIsWhatItsStepsTake) {
    for (const char* lanes : {"1", "4"}) {
        SCOPED_TRACE(text("lanes ", lanes));
        open_pairs({{"parallel.lanes", lanes}, {"train.batch", "0"}, {"train.batch-tokens", "400"}});
        expect_as_measured(0.005);
    }
    open_pairs({{"train.micro-batch", "3"}, {"train.batch", "24"}, {"train.batch-tokens", "0"}});
    expect_as_measured(0.005);
}

TEST_F(MemoryPlanTest, OfSixteenBitsCountsTheCopiesAndWhatTheCpuWidens) {
    open_text({{"train.precision", "bf16"}, {"parallel.lanes", "1"}});
    // besides, other kernels than the matrix product widen their operands, into blocks of sizes of their own
    expect_as_measured(0.15);
}

TEST_F(MemoryPlanTest, SaysWhatTheBytesAreFor) {
    open_text({{"parallel.lanes", "4"}});
    Stream stream(1);
    const auto parameters =
        4 *
        static_cast<std::size_t>(make_objective(stream, config_.model, 1)->model().parameters().elements());
    const MemoryPlan found = plan();
    // tensors of a few hundred bytes have blocks of 512; the flat buffers leave gaps between parameters
    const auto expect_about = [&](std::size_t bytes, std::size_t wanted) {
        EXPECT_GE(bytes, wanted);
        EXPECT_LE(bytes, wanted + wanted / 20);
    };
    expect_about(found.parameters, parameters);
    expect_about(found.gradients, 3 * parameters);  // of four lanes at most three wait at a time
    expect_about(found.optimizer, 2 * parameters);
    EXPECT_EQ(found.buffers, 0u) << "one rank sends nothing";
    EXPECT_EQ(found.saving, 3 * parameters) << "values and moments";
    EXPECT_EQ(found.total(), found.parameters + found.gradients + found.optimizer + found.activations +
                                 found.buffers + found.saving);
    config_.checkpoint.background = false;
    EXPECT_EQ(plan().saving, 0u);
    EXPECT_EQ(plan().total(), found.total() - found.saving);
}

TEST_F(MemoryPlanTest, OfManyRanksIsThatOfTheOneThatNeedsTheMost) {
    open_text({{"parallel.lanes", "8"}});
    const MemoryPlan one = plan(1), three = plan(3), eight = plan(8);
    EXPECT_EQ(one.gradients, 4 * eight.gradients) << "8 lanes, or one";
    EXPECT_EQ(three.gradients, 3 * eight.gradients) << "3 lanes that are no subtree";
    EXPECT_GT(eight.buffers, 0u);
    EXPECT_EQ(one.parameters, eight.parameters);
    EXPECT_NEAR(static_cast<double>(eight.saving), static_cast<double>(one.saving) / 8, 200.0)
        << "each writes its share; elements that eight do not divide are rounded";
    EXPECT_THROW(plan(9), ConfigError) << "more ranks than lanes";
}

TEST_F(MemoryPlanTest, OfAGpuNeedsNone) {
    open_text({{"parallel.lanes", "4"}, {"train.precision", "bf16"}});
    const MemoryPlan cpu = plan(), gpu = plan(1, Device::cuda), queued = plan(4, Device::cuda, true);
    EXPECT_LT(gpu.activations, cpu.activations) << "nothing is widened there";
    EXPECT_GT(gpu.total(), 0u);
    EXPECT_EQ(gpu.saving, 0u) << "what is copied for a checkpoint is the host's";
    EXPECT_GT(queued.buffers, 0u);
    EXPECT_LT(queued.gradients, gpu.gradients);
}

TEST_F(MemoryPlanTest, WhatDoesNotFitNamesAnOptionThatHelps) {
    open_text({{"parallel.lanes", "1"}});
    const auto planned = [&](const RunConfig& config) { return PlannedRun(config, {}, *data_); };
    const auto refused = [](const PlannedRun& run, std::size_t limit) {
        try {
            run.check_fits(limit, "--device-memory");
        } catch (const ConfigError& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    const PlannedRun whole = planned(config_);
    EXPECT_EQ(refused(whole, whole.plan().total()), "");
    RunConfig smaller = config_;
    smaller.train.micro_batch = 8;
    const std::size_t fits = planned(smaller).plan().total();
    const std::string line = refused(whole, fits);
    EXPECT_NE(line.find("enough is --train.micro-batch 8 (" + size_text(fits) + ")"), std::string::npos)
        << line;
    EXPECT_NE(line.find("(--device-memory)"), std::string::npos) << line;
    EXPECT_EQ(line.find("--parallel.lanes"), std::string::npos) << "there is one already: " << line;
    const std::string least = refused(whole, whole.plan().total() - 1);
    EXPECT_NE(least.find("--checkpoint.background false ("), std::string::npos) << least;
    const std::string none = refused(whole, 1000);
    EXPECT_NE(none.find("none of these is enough alone: --train.micro-batch 1 ("), std::string::npos) << none;
    EXPECT_EQ(none.find("micro-batch 16"), std::string::npos) << none;

    open_text({{"parallel.lanes", "4"}, {"train.micro-batch", "1"}});
    const PlannedRun stacked = planned(config_);
    const std::string lanes = refused(stacked, stacked.plan().total() - 1);
    EXPECT_NE(lanes.find("--parallel.lanes 2 ("), std::string::npos) << lanes;
}

TEST_F(MemoryPlanTest, OfLongValidationPassesIsTheirs) {
    open_text({{"train.micro-batch", "1"}, {"parallel.lanes", "1"}});
    folder_.valid = write_small_shard(path_.path(), "valid", 4000, 1);
    const auto validation = open_validation_data(folder_, config_.model, LongPairs::kError, 0);
    SoloCommunicator alone;
    Stream stream(1);
    const std::unique_ptr<Objective> objective = make_objective(stream, config_.model, 1);
    TrainingStep step(config_, *objective, stream, alone);
    const std::unique_ptr<BatchWalk> walk =
        data_->walk({}, [&](std::int64_t samples) { return step.own_samples(samples); });
    step.run(walk->next(), 0, 0);
    evaluate(*objective, stream, alone, *validation);
    config_.checkpoint.background = false;
    const std::size_t planned = PlannedRun(config_, {}, *data_, validation.get()).plan().total();
    EXPECT_GT(planned, plan().total() + plan().total() / 10) << "passes of 4,000 tokens, in training of 32";
    EXPECT_NEAR(static_cast<double>(planned) / static_cast<double>(stream.pool().statistics().touched), 1.0,
                0.005);
}

TEST(SizeText, HasThreeDigitsAndAUnit) {
    EXPECT_EQ(size_text(999), "999 bytes");
    EXPECT_EQ(size_text(1536), "1.50 KiB");
    EXPECT_EQ(size_text(std::size_t{5} << 30), "5.00 GiB");
}

TEST(ResidentBytes, GrowWithWhatIsTouched) {
    const std::size_t before = resident_bytes();
    ASSERT_GT(before, 0u);
    const std::vector<char> touched(64u << 20, 1);
    EXPECT_GE(resident_bytes(), before + touched.size() / 2);
    EXPECT_GE(peak_resident_bytes(), resident_bytes());
}

}  // namespace
}  // namespace skein
