// A rank that does not come ends the run on all others, with one line that names it.

#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "tests/support/program.h"

namespace skein {
namespace {

class StoppedRank : public testing::TestWithParam<int> {};

TEST_P(StoppedRank, EndsTheOthersWithOneLineThatNamesItTheStepAndTheCollective) {
    const int stuck = GetParam();
    const TemporaryFolder folder;
    write(folder / "text", pseudo_text(20'000));
    ASSERT_EQ(run_skein(words("prepare --tokenizer bytes --text " + (folder / "text") + " --out " +
                              (folder / "data")))
                  .code,
              0);
    RunningProgram program(
        words("train --data " + (folder / "data") + " --out " + (folder / "run") +
              " --model.layers 1 --model.width 16 --model.heads 2 --model.context 16 --train.batch 8"
              " --train.steps 100000000 --eval.every 0 --parallel.threads 1 --parallel.timeout 3"),
        3);
    ASSERT_TRUE(becomes_true([&] {
        return lines_of(contents(folder / "run/log.jsonl")).size() > 3 || !program.runs();
    })) << program.errors();
    ASSERT_TRUE(program.runs()) << program.errors();
    const pid_t process = program.rank_pid(stuck);
    ASSERT_GT(process, 0);
    ASSERT_EQ(::kill(process, SIGSTOP), 0);
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.code, 71);
    std::vector<std::string> said;
    for (const std::string& line : outcome.own_lines())
        if (line.starts_with("skein train: ")) said.push_back(line);
    ASSERT_EQ(said.size(), 1u) << outcome.errors;
    const std::string line =
        "skein train: rank [0-9] on .*: [-a-z ]+ at [a-z_/]+\\.(cpp|h):[0-9]+ "
        "\\(call [0-9]+, step [0-9]+\\): rank " +
        std::to_string(stuck) + " on host .* did not come within 3 s.*";
    EXPECT_TRUE(std::regex_match(said[0], std::regex(line))) << said[0];
}

INSTANTIATE_TEST_SUITE_P(Ranks, StoppedRank, testing::Values(0, 2),
                         [](const auto& one) { return "Rank" + std::to_string(one.param); });

}  // namespace
}  // namespace skein
