#include "trainer/options.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "model/base/error.h"
#include "trainer/option_values.h"
#include "trainer/presets.h"

namespace skein {
namespace {

std::string message_of(std::string_view name, std::string_view value) {
    RunConfig config;
    try {
        set_option(config, name, value);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "no error";
}

TEST(Options, EveryDefaultReadsBackAsItself) {
    const RunConfig defaults;
    for (const OptionInfo& option : run_options()) {
        RunConfig config;
        set_option(config, option.name, option.initial);
        EXPECT_EQ(to_settings(config), to_settings(defaults)) << option.name;
    }
}

TEST(Options, PrecisionIsAlsoReadUnderTheNameThatOlderCheckpointsHave) {
    RunConfig config;
    set_option(config, "train.precision", "bf16");
    set_option(config, "train.precision", "f32");
    EXPECT_EQ(get_option(config, "train.precision"), "fp32");
    EXPECT_EQ(message_of("train.precision", "half"),
              "option --train.precision: found 'half', allowed is fp32, bf16 or fp16");
}

TEST(Options, EveryNameIsThereOnce) {
    std::set<std::string> names;
    for (const OptionInfo& option : run_options()) {
        EXPECT_TRUE(names.insert(option.name).second) << option.name;
        EXPECT_FALSE(option.help.empty()) << option.name;
    }
    for (const char* name : {"model.kind",
                             "model.layers",
                             "model.heads",
                             "model.kv-heads",
                             "model.width",
                             "model.ff",
                             "model.context",
                             "model.dropout",
                             "model.bias",
                             "train.steps",
                             "train.batch",
                             "train.micro-batch",
                             "train.seed",
                             "train.label-smoothing",
                             "train.clip",
                             "train.precision",
                             "optimizer.kind",
                             "optimizer.beta1",
                             "optimizer.beta2",
                             "optimizer.epsilon",
                             "optimizer.weight-decay",
                             "schedule.kind",
                             "schedule.peak",
                             "schedule.floor",
                             "schedule.warmup",
                             "parallel.tensor",
                             "parallel.lanes",
                             "parallel.threads",
                             "eval.every",
                             "checkpoint.every",
                             "checkpoint.keep",
                             "checkpoint.background",
                             "device"}) {
        EXPECT_EQ(names.count(name), 1u) << "scripts rely on " << name;
    }
}

TEST(Options, SettingChangesExactlyTheNamedOption) {
    RunConfig config;
    set_option(config, "model.width", "512");
    set_option(config, "schedule.warmup", "2.5%");
    set_option(config, "train.seed", "18446744073709551615");
    EXPECT_EQ(config.model.width, 512);
    EXPECT_EQ(config.schedule.warmup, "2.5%");
    EXPECT_EQ(config.train.seed, std::numeric_limits<std::uint64_t>::max());
    Settings expected = to_settings(from_settings({}));
    for (auto& [name, value] : expected) {
        if (name == "model.width") value = "512";
        if (name == "schedule.warmup") value = "2.5%";
        if (name == "train.seed") value = "18446744073709551615";
    }
    EXPECT_EQ(to_settings(config), expected);
}

TEST(Options, NumbersReadBackExactly) {
    for (const double value :
         {0.1, 1.0 / 3.0, 1e-8, 6e-4, std::nextafter(1.0, 2.0), std::numeric_limits<double>::denorm_min()}) {
        RunConfig config;
        config.schedule.peak = value;
        RunConfig back;
        set_option(back, "schedule.peak", get_option(config, "schedule.peak"));
        EXPECT_EQ(back.schedule.peak, value);
    }
}

TEST(Options, AValueThatIsNotAllowedNamesOptionFoundAndAllowed) {
    EXPECT_EQ(message_of("model.layers", "0"),
              "option --model.layers: found '0', allowed is an integer from 1 to 10000");
    EXPECT_EQ(message_of("optimizer.kind", "sgd"),
              "option --optimizer.kind: found 'sgd', allowed is adamw or adam");
    EXPECT_EQ(message_of("model.dropout", "1"),
              "option --model.dropout: found '1', allowed is a number of at least 0 and below 1");
    EXPECT_EQ(message_of("device", "gpu"), "option --device: found 'gpu', allowed is cpu, cuda or auto");
    EXPECT_EQ(message_of("model.kind", "encoder"),
              "option --model.kind: found 'encoder', allowed is decoder or encoder-decoder");
    for (const auto& [name, value] : Settings{{"train.steps", "1e3"},
                                              {"train.steps", "10x"},
                                              {"train.steps", " 10"},
                                              {"train.steps", ""},
                                              {"schedule.peak", "nan"},
                                              {"schedule.peak", "inf"},
                                              {"schedule.peak", "-1"},
                                              {"schedule.warmup", "101%"},
                                              {"schedule.warmup", "%"},
                                              {"train.seed", "-1"},
                                              {"parallel.overlap", "maybe"},
                                              {"parallel.transport", "pigeon"},
                                              {"parallel.timeout", "0"},
                                              {"optimizer.epsilon", "0"},
                                              {"parallel.tensor", "0"},
                                              {"train.steps", "99999999999999999999"}}) {
        EXPECT_NE(message_of(name, value), "no error") << name << " = " << value;
    }
}

TEST(Options, CheckpointsAreDueByStepsOrByTheClock) {
    RunConfig config;
    for (const auto& [value, shown, steps, seconds] :
         {std::tuple("250", "250", 250, 0), std::tuple("0", "0", 0, 0), std::tuple("90s", "90s", 0, 90),
          std::tuple("30m", "30m", 0, 1800), std::tuple("120m", "2h", 0, 7200),
          std::tuple("2h", "2h", 0, 7200)}) {
        set_option(config, "checkpoint.every", value);
        EXPECT_EQ(get_option(config, "checkpoint.every"), shown);
        EXPECT_EQ(config.checkpoint.every.steps, steps);
        EXPECT_EQ(config.checkpoint.every.seconds, seconds);
    }
    for (const char* value : {"0s", "-1", "-5m", "m", "30y", "3 h", "", "99999999999999h"})
        EXPECT_EQ(message_of("checkpoint.every", value),
                  text("option --checkpoint.every: found '", value,
                       "', allowed is steps from 0 on, or a time such as 90s, 30m or 2h"));
}

TEST(Options, ARefusedValueLeavesTheConfigurationAsItWas) {
    RunConfig config;
    EXPECT_THROW(set_option(config, "train.steps", "-5"), ConfigError);
    EXPECT_EQ(to_settings(config), to_settings(from_settings({})));
}

TEST(Options, AnUnknownNameSuggestsTheNearest) {
    EXPECT_EQ(message_of("train.step", "1"), "unknown option --train.step: did you mean --train.steps?");
    EXPECT_EQ(message_of("trian.steps", "1"), "unknown option --trian.steps: did you mean --train.steps?");
    EXPECT_EQ(nearest_option("width"), "model.width");
    EXPECT_EQ(nearest_option("train.width"), "model.width");
    EXPECT_EQ(nearest_option("optimizer.weight_decay"), "optimizer.weight-decay");
    EXPECT_EQ(nearest_option("qqqqqqqq"), std::nullopt);
    EXPECT_EQ(message_of("qqqqqqqq", "1"), "unknown option --qqqqqqqq: see --help");
}

TEST(Options, SettingsGoThroughAConfigurationFileUnchanged) {
    RunConfig config;
    config.model.bias = false;
    config.model.dropout_attention = 0.0;
    config.optimizer.kind = OptimizerKind::kAdam;
    config.schedule.peak = 1.0 / 3.0;
    const Settings settings = to_settings(config);
    EXPECT_EQ(parse_ini(write_ini(settings), "config.ini"), settings);
    EXPECT_EQ(to_settings(from_settings(parse_ini(write_ini(settings), "config.ini"))), settings);
}

TEST(Options, AConfigurationFileMayHaveCommentsAndBlanks) {
    EXPECT_EQ(parse_ini("# one\n\ndevice=cpu\r\n  [ train ]\n; two\n  steps =  7 ", "f"),
              (Settings{{"device", "cpu"}, {"train.steps", "7"}}));
}

TEST(Options, ABrokenConfigurationFileNamesTheLine) {
    const auto error_of = [](const char* ini) {
        try {
            parse_ini(ini, "run.ini");
        } catch (const ConfigError& error) {
            return std::string(error.what());
        }
        return std::string("no error");
    };
    EXPECT_EQ(error_of("[train]\nsteps 7\n"),
              "run.ini line 2: found 'steps 7', wanted [section] or name = value");
    EXPECT_EQ(error_of("[train]\nsteps = 7\n\nsteps = 8\n"),
              "run.ini line 4: option train.steps is set a second time");
    EXPECT_EQ(error_of("= 7"), "run.ini line 1: found '= 7', wanted [section] or name = value");
}

TEST(Presets, EveryPresetIsAValidRun) {
    for (const Preset& preset : presets()) {
        const RunConfig config = from_settings(preset.settings);
        for (const auto& [name, value] : preset.settings) EXPECT_EQ(get_option(config, name), value) << name;
    }
    EXPECT_EQ(from_settings(preset_named("gpt2").settings).model.width, 768);
    EXPECT_THROW(preset_named("gpt3"), ConfigError);
}

TEST(EditDistance, CountsSlipsOfTheFinger) {
    EXPECT_EQ(edit_distance("", "abc"), 3u);
    EXPECT_EQ(edit_distance("steps", "steps"), 0u);
    EXPECT_EQ(edit_distance("stpes", "steps"), 1u);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

}  // namespace
}  // namespace skein
