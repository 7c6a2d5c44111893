// Runs that are stopped, by signals on their way through the wrapper, mpirun and a single rank, and by a time
// limit: all ranks save together, exit with 75, and go on to the same parameters.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace skein {
namespace {

using Json = nlohmann::json;

class Stopping : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        write(*folder_ / "text", pseudo_text(20'000));
        ASSERT_EQ(run_skein(words("prepare --tokenizer bytes --text " + (*folder_ / "text") + " --out " +
                                  (*folder_ / "data")))
                      .code,
                  0);
        // the program, each of whose processes says which it is
        const std::string program = *folder_ / "skein";
        write(program, "#!/bin/sh\necho $$ >> \"$SKEIN_TEST_PIDS\"\nexec " SKEIN_PROGRAM " \"$@\"\n");
        ASSERT_EQ(chmod(program.c_str(), 0755), 0);
    }
    static void TearDownTestSuite() { delete folder_; }

    /// Of the run in OUT. The schedule's end is not that of the steps, which differ.
    static std::vector<std::string> train(const std::string& out, std::int64_t steps,
                                          const std::string& more = "") {
        return words("train --data " + (*folder_ / "data") + " --out " + (*folder_ / out) +
                     " --model.layers 1 --model.width 16 --model.heads 2 --model.context 16 --train.batch 8"
                     " --eval.every 0 --checkpoint.every 0 --parallel.threads 1 --schedule.horizon 100000"
                     " --train.steps " +
                     std::to_string(steps) + " " + more);
    }

    /// `launch/skein-mpirun` on so many ranks.
    static RunningProgram wrapper(int ranks, const std::vector<std::string>& arguments) {
        return RunningProgram(
            ShellCommand{std::vector<std::string>{SKEIN_LAUNCH_FOLDER "/skein-mpirun", "-np",
                                                  std::to_string(ranks), "--no-bind", "--"} +
                             arguments,
                         {{"SKEIN", *folder_ / "skein"}}},
            ranks);
    }

    /// Waits until it has made a few steps since its start.
    static void wait_for_steps(RunningProgram& program, const std::string& out) {
        const std::string log = *folder_ / (out + "/log.jsonl");
        ASSERT_TRUE(becomes_true([&] {
            return program.errors().find("at step") != std::string::npos ||
                   lines_of(contents(log)).size() > 5 || !program.runs();
        }));
        const std::size_t before = lines_of(contents(log)).size();
        ASSERT_TRUE(
            becomes_true([&] { return lines_of(contents(log)).size() > before + 5 || !program.runs(); }));
        ASSERT_TRUE(program.runs()) << program.errors();
    }

    static Json inspected(const std::string& out) {
        const Outcome outcome = run_skein({"inspect", *folder_ / out, "--json"});
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        return outcome.code == 0 ? Json::parse(outcome.out) : Json();
    }

    static void expect_stopped(const Outcome& outcome) {
        EXPECT_EQ(outcome.code, 75) << outcome.errors;
        EXPECT_NE(outcome.errors.find("stopped on request at step"), std::string::npos) << outcome.errors;
        EXPECT_EQ(outcome.errors.find("skein train: rank "), std::string::npos)
            << "no rank failed: " << outcome.errors;
    }

    /// Goes on for some steps, and compares with a run that nothing has stopped, on one rank.
    static void expect_to_go_on_as_if_nothing_had_happened(const std::string& out, int ranks) {
        const std::int64_t steps = inspected(out)["step"].get<std::int64_t>() + 10;
        const Outcome finished = wrapper(ranks, train(out, steps, "--train.time-limit 0")).wait();
        EXPECT_EQ(finished.code, 0) << finished.errors;
        ASSERT_EQ(run_skein(train(out + "-whole", steps)).code, 0);
        const Json resumed = inspected(out), whole = inspected(out + "-whole");
        EXPECT_EQ(resumed["step"], steps);
        EXPECT_EQ(resumed["parameters"], whole["parameters"]);
        EXPECT_EQ(resumed["state"], whole["state"]);
    }

    static constexpr std::int64_t kForEver = 1'000'000'000;
    static TemporaryFolder* folder_;
};

TemporaryFolder* Stopping::folder_ = nullptr;

TEST_F(Stopping, EachSignalToTheWrapperStopsAllRanksWithACheckpoint) {
    for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
        RunningProgram program = wrapper(2, train("wrapped", kForEver));
        ASSERT_NO_FATAL_FAILURE(wait_for_steps(program, "wrapped"));
        program.signal(signal);
        expect_stopped(program.wait());
    }
    expect_to_go_on_as_if_nothing_had_happened("wrapped", 3);
}

TEST_F(Stopping, TermToASingleRankStopsAllWithACheckpoint) {
    for (const bool is_last : {false, true}) {
        RunningProgram program = wrapper(2, train("single", kForEver));
        ASSERT_NO_FATAL_FAILURE(wait_for_steps(program, "single"));
        const std::vector<pid_t> ranks = program.rank_pids();
        ASSERT_EQ(ranks.size(), 2u);
        ASSERT_EQ(::kill(is_last ? ranks.back() : ranks.front(), SIGTERM), 0);
        expect_stopped(program.wait());
    }
    expect_to_go_on_as_if_nothing_had_happened("single", 2);
}

TEST_F(Stopping, ASignalThatComesWhileMpiStartsStopsTheRunAfterItsFirstStep) {
    // at a rank's first write to whatever it is, which is one of MPI's
    const std::string early = "export LD_PRELOAD='" SKEIN_SIGNAL_AT "' SIGNAL_AT='" +
                              std::to_string(SIGUSR1) +
                              " 1 0 *' ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0;";
    const Outcome outcome = run_skein(train("early", kForEver), 2, early);
    expect_stopped(outcome);
    EXPECT_EQ(inspected("early")["step"], 1);
}

TEST_F(Stopping, ATimeLimitStopsAllRanksAndEachStartCountsFromItsOwn) {
    std::int64_t last = 0;
    for (int start = 0; start < 2; ++start) {
        const Outcome outcome = wrapper(2, train("limited", kForEver, "--train.time-limit 2s")).wait();
        expect_stopped(outcome);
        EXPECT_NE(outcome.errors.find("stopped: 2s of --train.time-limit are nearly over"), std::string::npos)
            << outcome.errors;
        const auto step = inspected("limited")["step"].get<std::int64_t>();
        EXPECT_GT(step, last);
        last = step;
    }
    expect_to_go_on_as_if_nothing_had_happened("limited", 1);
}

}  // namespace
}  // namespace skein
