#include "trainer/run_rules.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "trainer/objective.h"
#include "trainer/options.h"
#include "trainer/presets.h"

namespace skein {
namespace {

RunConfig with(const Settings& settings) {
    return from_settings(settings);
}

std::string contradiction_of(const Settings& settings) {
    try {
        validate(with(settings));
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "none";
}

TEST(Rules, DefaultsAndPresetsContradictNothing) {
    EXPECT_NO_THROW(validate(from_settings({})));
    for (const Preset& preset : presets())
        EXPECT_EQ(contradiction_of(preset.settings), "none") << preset.name;
}

TEST(Rules, AContradictionNamesBothOptions) {
    EXPECT_EQ(
        contradiction_of({{"model.width", "130"}}),
        "option --model.width: found 130, wanted a multiple of the number of heads (--model.heads is 4)");
    EXPECT_EQ(
        contradiction_of({{"model.kv-heads", "3"}}),
        "option --model.kv-heads: found 3, wanted a divisor of the number of heads (--model.heads is 4)");
    EXPECT_EQ(contradiction_of({{"train.batch", "8"}, {"train.micro-batch", "9"}}),
              "option --train.micro-batch: found 9, wanted at most the batch (--train.batch is 8)");
    EXPECT_EQ(contradiction_of({{"parallel.lanes", "3"}}),
              "option --parallel.lanes: found 3, allowed is a power of two, or 0");
    EXPECT_EQ(
        contradiction_of({{"parallel.zero", "1"}, {"parallel.reduction", "fast"}}),
        "option --parallel.zero: found 1, wanted 0 with the fast reduction (--parallel.reduction is fast)");
    EXPECT_EQ(contradiction_of({{"train.steps", "50"}, {"schedule.warmup", "100"}}),
              "option --schedule.warmup: found 100, wanted no more updates than the horizon has "
              "(--train.steps is 50)");
    EXPECT_EQ(contradiction_of({{"train.tf32", "true"}, {"train.precision", "bf16"}}),
              "option --train.tf32: found true, wanted false, since only fp32's products know it "
              "(--train.precision is bf16)");
    EXPECT_EQ(contradiction_of({{"train.tf32", "true"}, {"device", "cpu"}}),
              "option --train.tf32: found true, wanted false, since the CPU has no TF32 (--device is cpu)");
    EXPECT_EQ(contradiction_of({{"train.tf32", "true"}}), "none");
    for (const Settings& settings :
         {Settings{{"schedule.peak", "0.1"}, {"schedule.floor", "0.2"}},
          Settings{{"schedule.kind", "noam"}, {"schedule.warmup", "0"}},
          Settings{{"schedule.kind", "wsd"}, {"schedule.warmup", "90%"}, {"schedule.decay-share", "0.2"}},
          Settings{{"eval.patience", "3"}, {"eval.every", "0"}},
          Settings{{"model.position", "sinusoidal"}, {"model.width", "9"}, {"model.heads", "3"}}}) {
        EXPECT_NE(contradiction_of(settings), "none") << write_ini(settings);
    }
}

TEST(Rules, BatchesByTokensAreForPairsAndInsteadOfBatchesBySamples) {
    const auto with_pairs = [](Settings settings) {
        settings.push_back({"model.kind", "encoder-decoder"});
        return contradiction_of(settings);
    };
    EXPECT_EQ(with_pairs({{"train.batch-tokens", "4096"}}), "none");
    EXPECT_EQ(
        contradiction_of({{"train.batch-tokens", "4096"}}),
        "option --train.batch-tokens: found 4096, wanted 0: a decoder's sequences are of one length, give "
        "--train.batch (--model.kind is decoder)");
    EXPECT_EQ(
        with_pairs({{"train.batch-tokens", "4096"}, {"train.batch", "64"}}),
        "option --train.batch: found 64, wanted 0 with batches by tokens (--train.batch-tokens is 4096)");
    EXPECT_NE(with_pairs({{"train.batch-tokens", "4096"}, {"train.micro-batch-tokens", "5000"}}), "none");
    EXPECT_NE(with_pairs({{"train.micro-batch", "4"}, {"train.micro-batch-tokens", "50"}}), "none");
    const RunConfig by_tokens =
        effective(with({{"model.kind", "encoder-decoder"}, {"train.batch-tokens", "4096"}}));
    EXPECT_EQ(by_tokens.train.batch, 0);
    EXPECT_EQ(by_tokens.parallel.lanes, 8);
    EXPECT_EQ(by_tokens.model.encoder_layers, by_tokens.model.layers);
    EXPECT_EQ(effective(with({})).train.batch, 32);
}

TEST(Presets, ThePapersHaveThePapersSizes) {
    const auto model_of = [](const char* preset) {
        Settings settings = preset_named(preset).settings;
        settings.push_back({"model.vocabulary", "37000"});
        return effective(with(settings)).model;
    };
    Stream stream(2);
    EXPECT_EQ(make_objective(stream, model_of("transformer-base"), 1)->model().parameters().elements(),
              63'082'496);
    // the big one's 214,245,376 are counted in tests/model/nn for these sizes
    const ModelConfig big = model_of("transformer-big");
    EXPECT_EQ(big.layers, 6);
    EXPECT_EQ(big.width, 1024);
    EXPECT_EQ(big.heads, 16);
    EXPECT_EQ(big.feed_forward, 4096);
    EXPECT_EQ(big.dropout, 0.3);
}

TEST(Rules, MoreLanesThanSequencesAreAllowed) {
    EXPECT_EQ(contradiction_of({{"train.batch", "3"}, {"parallel.lanes", "8"}}), "none");
}

TEST(Rules, LanesFollowFromTheBatch) {
    const auto lanes = [](const char* batch) {
        return effective(with({{"train.batch", batch}})).parallel.lanes;
    };
    EXPECT_EQ(lanes("12"), 4);
    EXPECT_EQ(lanes("64"), 8);
    EXPECT_EQ(lanes("7"), 1);
    EXPECT_EQ(effective(with({{"train.batch", "7"}, {"parallel.lanes", "4"}})).parallel.lanes, 4);
}

TEST(Rules, TheEffectiveConfigurationIsItsOwn) {
    const RunConfig once = effective(with({{"train.steps", "77"}}));
    EXPECT_EQ(once.schedule.horizon, 77);
    EXPECT_EQ(once.model.feed_forward, 512);
    EXPECT_EQ(once.model.key_value_heads, 4);
    EXPECT_EQ(to_settings(effective(once)), to_settings(once));
}

TEST(Rules, WarmUpIsANumberOrAShare) {
    EXPECT_EQ(warmup_updates("100", 2000), 100);
    EXPECT_EQ(warmup_updates("2%", 2000), 40);
    EXPECT_EQ(warmup_updates("2%", 10), 1);
    EXPECT_EQ(warmup_updates("0%", 10), 0);
    EXPECT_EQ(warmup_updates("0", 10), 0);
    EXPECT_THROW(warmup_updates("soon", 10), ConfigError);
}

TEST(Resume, WhatIsNotGivenStaysAsItWasSaved) {
    const RunConfig saved =
        effective(with({{"train.steps", "60"}, {"model.width", "64"}, {"parallel.lanes", "4"}}));
    const RunConfig wanted = with({{"train.steps", "120"}});
    const ResumeComparison comparison = compare_for_resume(saved, wanted, {"train.steps"});
    EXPECT_EQ(comparison.config.train.steps, 120);
    EXPECT_EQ(comparison.config.model.width, 64);
    EXPECT_EQ(comparison.config.parallel.lanes, 4);
    EXPECT_EQ(comparison.config.schedule.horizon, 60) << "the horizon stays as it was unless it is given";
    ASSERT_EQ(comparison.silent.size(), 1u);
    EXPECT_EQ(comparison.silent[0].name, "train.steps");
    EXPECT_TRUE(comparison.notices.empty());
    EXPECT_NO_THROW(require_none_refused(comparison));
}

TEST(Resume, RateAndBatchAreSaid) {
    const RunConfig saved = effective(with({}));
    const ResumeComparison comparison = compare_for_resume(
        saved, with({{"train.batch", "64"}, {"schedule.peak", "0.5"}}), {"train.batch", "schedule.peak"});
    ASSERT_EQ(comparison.notices.size(), 2u);
    EXPECT_EQ(comparison.notices[0].name, "train.batch");
    EXPECT_EQ(comparison.notices[0].saved, "32");
    EXPECT_EQ(comparison.notices[0].wanted, "64");
    EXPECT_EQ(comparison.config.schedule.peak, 0.5);
}

TEST(Resume, ModelAndLanesAreRefused) {
    const RunConfig saved = effective(with({}));
    for (const auto& [name, value] :
         Settings{{"model.width", "256"}, {"parallel.lanes", "2"}, {"train.seed", "9"}}) {
        const ResumeComparison comparison = compare_for_resume(saved, with({{name, value}}), {name});
        ASSERT_EQ(comparison.refused.size(), 1u) << name;
        EXPECT_EQ(get_option(comparison.config, name), get_option(saved, name));
        EXPECT_THROW(require_none_refused(comparison), ConfigError);
    }
}

TEST(Resume, TheSameCommandAgainIsNoChange) {
    const RunConfig first = with({{"model.width", "64"}, {"parallel.lanes", "0"}, {"schedule.horizon", "0"}});
    const ResumeComparison comparison = compare_for_resume(
        effective(first), first, {"model.width", "parallel.lanes", "schedule.horizon", "model.ff"});
    EXPECT_TRUE(comparison.silent.empty());
    EXPECT_TRUE(comparison.notices.empty());
    EXPECT_TRUE(comparison.refused.empty());
}

}  // namespace
}  // namespace skein
