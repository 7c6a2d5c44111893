#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace skein {

/// Runs that break, each in another way: the table of how they ended is printed behind the tests.
class BrokenRun : public testing::Test {
  protected:
    using Clock = std::chrono::steady_clock;

    static void SetUpTestSuite() {
        shared_ = new TemporaryFolder;
        write(*shared_ / "text", pseudo_text(20'000));
        const Outcome prepared = run_skein(words("prepare --tokenizer bytes --text " + (*shared_ / "text") +
                                                 " --out " + (*shared_ / "data")));
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
    }
    static void TearDownTestSuite() {
        std::printf("%-58s %-5s %-10s %s\n", "fault", "code", "seconds", "what was said");
        for (const std::string& row : table_) std::printf("%s\n", row.c_str());
        table_.clear();
        delete shared_;
    }

    static std::string data() { return *shared_ / "data"; }
    std::string run() const { return folder_ / "run"; }

    /// A run without an end; `more` may say --data and --out.
    std::vector<std::string> train(const std::string& more = "") const {
        std::string line =
            "train --model.layers 1 --model.width 16 --model.heads 2 --model.context 16 --train.batch 12"
            " --parallel.lanes 4 --eval.every 0 --parallel.threads 1 " +
            more;
        const auto otherwise = [&](const std::string& option, const std::string& value) {
            if (line.find(option + " ") == std::string::npos) line += " " + option + " " + value;
        };
        otherwise("--data", data());
        otherwise("--out", run());
        otherwise("--train.steps", "100000000");
        otherwise("--checkpoint.every", "20");
        otherwise("--parallel.timeout", "2");
        return words(line);
    }

    /// The step of the newest checkpoint; 0: none.
    int newest_step() const {
        int newest = 0;
        std::error_code ignored;
        for (std::filesystem::directory_iterator entry(run() + "/checkpoints", ignored), end;
             !ignored && entry != end; entry.increment(ignored)) {
            const std::filesystem::path name = entry->path().filename();
            if (name.extension().empty() && name.string().starts_with("step-"))
                newest = std::max(newest, std::atoi(name.c_str() + 5));
        }
        return newest;
    }
    std::size_t log_lines() const { return lines_of(contents(run() + "/log.jsonl")).size(); }

    /// A run with a checkpoint of step 3 to go on from.
    void begin() const {
        std::filesystem::remove_all(run());
        const Outcome outcome = run_skein(train("--train.steps 3"));
        ASSERT_EQ(outcome.code, 0) << outcome.errors;
    }

    /// Until the run has a checkpoint and steps behind it.
    void expect_under_way(RunningProgram& program) const {
        ASSERT_TRUE(becomes_true([&] {
            return (newest_step() > 0 && log_lines() > static_cast<std::size_t>(newest_step()) + 2) ||
                   !program.runs();
        })) << program.errors();
        ASSERT_TRUE(program.runs()) << program.errors();
    }

    /// What the program says when it fails; notices do not begin like that.
    static std::vector<std::string> failures(const Outcome& outcome) {
        std::vector<std::string> said;
        for (const std::string& line : outcome.own_lines())
            if (line.starts_with("skein train: ")) said.push_back(line);
        return said;
    }

    /// One line, which matches, and the code; the table gets a row with the time since `from`.
    void expect_end(RunningProgram& program, const std::string& fault, Clock::time_point from, int code,
                    const std::string& pattern) {
        const Outcome outcome = program.wait();
        const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
        EXPECT_EQ(outcome.code, code) << outcome.errors;
        const std::vector<std::string> said = failures(outcome);
        ASSERT_EQ(said.size(), 1u) << outcome.errors;
        EXPECT_TRUE(std::regex_match(said[0], std::regex(pattern))) << said[0] << "\nis not\n" << pattern;
        add_row(fault, outcome.code, seconds, said[0]);
    }

    static void add_row(const std::string& fault, int code, double seconds, const std::string& said) {
        char row[120];
        std::snprintf(row, sizeof row, "%-58s %-5d %-10.2f ", fault.c_str(), code, seconds);
        table_.push_back(row + said);
    }

    /// The newest checkpoint is one to go on from, by a rank alone.
    void expect_resumes(const std::string& more = "") {
        const int step = newest_step();
        ASSERT_GT(step, 0);
        const Outcome outcome = run_skein(train("--train.steps " + std::to_string(step + 2) + " " + more));
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        EXPECT_NE(outcome.errors.find("at step " + std::to_string(step) + "\n"), std::string::npos)
            << outcome.errors;
        EXPECT_EQ(outcome.errors.find("skipped"), std::string::npos) << outcome.errors;
    }

    inline static TemporaryFolder* shared_ = nullptr;
    inline static std::vector<std::string> table_;
    TemporaryFolder folder_;
};

}  // namespace skein
