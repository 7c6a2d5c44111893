#include "launch/command_line.h"

#include <gtest/gtest.h>

#include <fstream>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"
#include "trainer/options.h"

namespace skein {
namespace {

Command command_with_everything() {
    Command command;
    command.name = "try";
    command.summary = "tries";
    command.usage = "--out DIR";
    command.options = {
        {.name = "out", .value = "DIR", .help = "where to"},
        {.name = "text", .value = "FILE", .help = "what", .kind = CommandOption::Kind::kList},
        {.name = "json", .value = "", .help = "as JSON", .kind = CommandOption::Kind::kFlag},
        {.name = "mode", .value = "NAME", .help = "how", .initial = "slow", .choices = {"slow", "fast"}},
        {.name = "count", .value = "N", .help = "how many", .initial = "3"},
    };
    command.run_options = {"all"};
    command.takes_config = true;
    command.most_positional = 1;
    return command;
}

Arguments parsed(const std::vector<std::string>& words) {
    return parse_command_line(command_with_everything(), words).value();
}

std::string error_of(const std::vector<std::string>& words) {
    try {
        parse_command_line(command_with_everything(), words);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "no error";
}

TEST(CommandLine, GivesTheCommandsOwnOptionsAndTheRuns) {
    const Arguments arguments =
        parsed({"--model.width", "64", "place", "--text", "a", "b", "--json", "--train.steps=7"});
    EXPECT_EQ(arguments.config.model.width, 64);
    EXPECT_EQ(arguments.config.train.steps, 7);
    EXPECT_EQ(arguments.given, (std::set<std::string>{"model.width", "train.steps"}));
    EXPECT_EQ(arguments.list("text"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(arguments.positional, (std::vector<std::string>{"place"}));
    EXPECT_TRUE(arguments.has("json"));
    EXPECT_FALSE(arguments.has("out"));
    EXPECT_EQ(arguments.value("mode"), "slow");
    EXPECT_EQ(arguments.integer("count", 0, 10), 3);
    EXPECT_THROW(arguments.integer("count", 4, 10), ConfigError);
}

TEST(CommandLine, TakesValuesThatStartWithADash) {
    EXPECT_EQ(error_of({"--train.steps", "-1"}),
              "option --train.steps: found '-1', allowed is an integer of at least 1");
}

TEST(CommandLine, PresetThenFileThenCommandLine) {
    const TemporaryFolder folder;
    const std::string file = folder / "run.ini";
    std::ofstream(file) << "[model]\nwidth = 256\nlayers = 3\n";
    const Arguments arguments =
        parsed({"--model.layers", "2", "--config", file, "--preset", "shakespeare-nano"});
    EXPECT_EQ(arguments.config.model.layers, 2) << "the command line comes last";
    EXPECT_EQ(arguments.config.model.width, 256) << "the file comes after the preset";
    EXPECT_FALSE(arguments.config.model.bias) << "the preset comes after the defaults";
    EXPECT_TRUE(arguments.given.contains("train.batch")) << "a preset's settings are given";
    EXPECT_FALSE(arguments.given.contains("train.seed"));
}

TEST(CommandLine, AWrittenConfigurationRunsAgainAsItIs) {
    const TemporaryFolder folder;
    const RunConfig config =
        from_settings({{"model.width", "96"}, {"schedule.peak", "0.3"}, {"device", "cpu"}});
    std::ofstream(folder / "config.ini") << write_ini(to_settings(config));
    EXPECT_EQ(to_settings(parsed({"--config", folder / "config.ini"}).config), to_settings(config));
}

TEST(CommandLine, AnUnknownOptionNamesTheNearest) {
    EXPECT_EQ(error_of({"--train.step", "7"}), "unknown option --train.step: did you mean --train.steps?");
    EXPECT_EQ(error_of({"--jsn"}), "unknown option --jsn: did you mean --json?");
    EXPECT_EQ(error_of({"--model.widht=7"}), "unknown option --model.widht: did you mean --model.width?");
    EXPECT_EQ(error_of({"--zzzzzzzz"}), "unknown option --zzzzzzzz: see --help");
}

TEST(CommandLine, AbbreviationsAreNotGuessed) {
    EXPECT_EQ(error_of({"--model.wid", "64"}), "unknown option --model.wid: did you mean --model.width?");
    EXPECT_EQ(error_of({"--coun", "64"}), "unknown option --coun: did you mean --count?");
}

TEST(CommandLine, OptionsOutsideTheCommandsSectionsAreUnknown) {
    Command command = command_with_everything();
    command.run_options = {"parallel", "device"};
    EXPECT_NO_THROW(parse_command_line(command, {"--parallel.threads", "2", "--device", "cpu"}));
    EXPECT_THROW(parse_command_line(command, {"--model.width", "64"}), ConfigError);
    EXPECT_EQ(command_help(command).find("--model.width"), std::string::npos);
    EXPECT_NE(command_help(command).find("--parallel.threads"), std::string::npos);
}

TEST(CommandLine, ContradictionsAndLeftoversAreErrors) {
    EXPECT_EQ(error_of({"--train.steps", "7", "--train.steps", "8"}),
              "option --train.steps: found '7' and '8', wanted one value");
    EXPECT_EQ(error_of({"--out", "a", "--out", "b"}), "option --out: found 'a' and 'b', wanted one value");
    EXPECT_EQ(error_of({"--mode", "quick"}), "option --mode: found 'quick', allowed is slow or fast");
    EXPECT_EQ(error_of({"one", "two"}), "unexpected argument 'two': see skein try --help");
    EXPECT_NE(error_of({"--train.steps"}), "no error");
    EXPECT_EQ(error_of({"--preset", "huge"}),
              "option --preset: found 'huge', allowed is shakespeare-nano, shakespeare, gpt2, gpt2-medium, "
              "multi30k, transformer-base or transformer-big");
}

TEST(CommandLine, ABadConfigurationFileIsNamed) {
    const TemporaryFolder folder;
    const std::string file = folder / "run.ini";
    std::ofstream(file) << "[model]\nwidht = 256\n";
    EXPECT_EQ(error_of({"--config", file}),
              file + ": unknown option --model.widht: did you mean --model.width?");
    EXPECT_THROW(parsed({"--config", folder / "none.ini"}), MissingError);
}

TEST(CommandLine, ARequiredOptionThatIsMissingIsNamed) {
    Command command = command_with_everything();
    command.options[0].required = true;
    try {
        parse_command_line(command, {});
        FAIL() << "no error";
    } catch (const ConfigError& error) {
        EXPECT_STREQ(error.what(), "option --out is missing, wanted --out DIR");
    }
}

TEST(CommandLine, HelpWinsOverWhatIsMissingAndShowsEveryOptionWithItsDefault) {
    Command command = command_with_everything();
    command.options[0].required = true;
    EXPECT_FALSE(parse_command_line(command, {"--help"}).has_value());
    const std::string help = command_help(command);
    for (const OptionInfo& option : run_options()) {
        EXPECT_NE(help.find("--" + option.name), std::string::npos) << option.name;
    }
    EXPECT_NE(help.find("(=slow)"), std::string::npos);
    EXPECT_NE(help.find("[schedule]"), std::string::npos);
    EXPECT_NE(help.find("(=adamw)"), std::string::npos);
}

}  // namespace
}  // namespace skein
