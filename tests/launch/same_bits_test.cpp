// The promise: a run is a function of its configuration, its data and its seed, whatever it ran on and
// however often it was killed.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/program.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kSteps = 60;

struct Hashes {
    std::string parameters, state;
    friend bool operator==(const Hashes&, const Hashes&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Hashes& hashes) {
        return out << "parameters " << hashes.parameters << ", state " << hashes.state;
    }
};

Hashes hashes_of(const std::string& run) {
    const Outcome inspected = run_skein({"inspect", run, "--json"});
    EXPECT_EQ(inspected.code, 0) << inspected.errors;
    if (inspected.code != 0) return {};
    const Json json = Json::parse(inspected.out);
    EXPECT_EQ(json["step"], kSteps);
    return {json["parameters"], json["state"]};
}

/// The log without what a clock says.
std::vector<std::string> log_of(const std::string& run) {
    std::vector<std::string> out;
    for (const std::string& line : lines_of(contents(run + "/log.jsonl"))) {
        Json json = Json::parse(line);
        json.erase("seconds");
        json.erase("tokens_per_second");
        out.push_back(json.dump());
    }
    return out;
}

/// How often the run was started, or started again.
std::size_t starts_of(const std::string& run) {
    return lines_of(contents(run + "/runs.jsonl")).size();
}

std::string checkpoint_of(int step) {
    char name[32];
    std::snprintf(name, sizeof name, "step-%08d", step);
    return name;
}

/// Whether a signal has been sent to a process and waits for it to run.
bool is_pending(pid_t pid, int signal) {
    for (const std::string& line : lines_of(contents("/proc/" + std::to_string(pid) + "/status")))
        if (line.starts_with("ShdPnd:"))
            return (std::strtoull(line.c_str() + 7, nullptr, 16) >> (signal - 1) & 1) != 0;
    return false;
}

/// The newest name in a run's checkpoints that ends in `suffix`, without it; empty: none.
std::string newest_checkpoint(const std::string& run, const std::string& suffix) {
    std::string newest;
    std::error_code ignored;
    for (fs::directory_iterator entry(run + "/checkpoints", ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
        const fs::path name = entry->path().filename();
        if (name.extension() == suffix) newest = std::max(newest, name.stem().string());
    }
    return newest;
}

class SameBits : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        write(*folder_ / "text.txt", pseudo_text(20'000));
        const Outcome prepared = run_skein(
            {"prepare", "--text", *folder_ / "text.txt", "--tokenizer", "chars", "--out", *folder_ / "data"});
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
        expect_finish("reference", 1);
        reference_ = hashes_of(*folder_ / "reference");
        reference_log_ = log_of(*folder_ / "reference");
        ASSERT_NE(reference_.parameters, "");
        ASSERT_EQ(reference_log_.size(), kSteps + 3u) << "60 steps and 3 evaluations";
    }
    static void TearDownTestSuite() { delete folder_; }

    static std::string out(const std::string& run) { return *folder_ / run; }

    /// The run's command line; `more` replaces options or adds some.
    static std::vector<std::string> train(const std::string& run, const std::string& more = "") {
        std::vector<std::string> line =
            words("--data " + (*folder_ / "data") + " --out " + out(run) +
                  " --model.layers 2 --model.width 32 --model.heads 2 --model.context 16 --model.dropout 0.1 "
                  "--train.batch 12"
                  " --train.steps " +
                  std::to_string(kSteps) +
                  " --parallel.lanes 4 --parallel.threads 1 --checkpoint.every 20 --eval.every 20");
        const std::vector<std::string> changes = words(more);
        for (std::size_t i = 0; i < changes.size(); i += 2) {
            const auto found = std::ranges::find(line, changes[i]);
            if (found == line.end())
                line = line + std::vector<std::string>{changes[i], changes[i + 1]};
            else
                found[1] = changes[i + 1];
        }
        return std::vector<std::string>{"train"} + line;
    }

    static void expect_finish(const std::string& run, int ranks, const std::string& more = "") {
        const Outcome outcome = run_skein(train(run, more), ranks);
        ASSERT_EQ(outcome.code, 0) << run << ": " << outcome.errors;
    }

    static void expect_same_as_reference(const std::string& run) {
        EXPECT_EQ(hashes_of(out(run)), reference_) << run;
        EXPECT_EQ(log_of(out(run)), reference_log_) << run;
    }

    /// Starts the run on `ranks` ranks; a rank kills itself as tests/support/signal_at.cpp says, and the
    /// others and mpirun are killed upon that.
    static void expect_killed_at(const std::string& run, int ranks, const std::string& moment,
                                 const std::string& more = "") {
        RunningProgram program(train(run, more), ranks, signal_at(SIGKILL, moment));
        EXPECT_TRUE(becomes_true([&] { return program.lost_a_rank() || !program.runs(); }))
            << program.errors();
        program.kill_all();
        EXPECT_FALSE(fs::exists(out(run) + "/checkpoints/" + checkpoint_of(kSteps)))
            << "ended before the kill";
        EXPECT_TRUE(fs::exists(out(run) + "/lock")) << "left in order: " << program.errors();
    }

    /// For a rank's shell; `moment` is the call, the delay and the pattern.
    static std::string signal_at(int signal, const std::string& moment) {
        return "export LD_PRELOAD='" SKEIN_SIGNAL_AT "' SIGNAL_AT='" + std::to_string(signal) + " " + moment +
               "' ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0;";
    }

    static TemporaryFolder* folder_;
    static Hashes reference_;
    static std::vector<std::string> reference_log_;
};
TemporaryFolder* SameBits::folder_;
Hashes SameBits::reference_;
std::vector<std::string> SameBits::reference_log_;

TEST_F(SameBits, OnAnyNumberOfRanks) {
    for (const int ranks : {2, 3, 4}) {
        const std::string run = "ranks-" + std::to_string(ranks);
        expect_finish(run, ranks);
        expect_same_as_reference(run);
    }
}

TEST_F(SameBits, WithTwoThreads) {
    expect_finish("threads-2", 1, "--parallel.threads 2");
    expect_same_as_reference("threads-2");
    expect_finish("ranks-2-threads-2", 2, "--parallel.threads 2");
    expect_same_as_reference("ranks-2-threads-2");
}

TEST_F(SameBits, AnotherSeedOrOtherLanesGiveOtherBits) {
    expect_finish("seed", 1, "--train.seed 2");
    EXPECT_NE(hashes_of(out("seed")).parameters, reference_.parameters);
    EXPECT_NE(hashes_of(out("seed")).state, reference_.state);
    expect_finish("lanes", 1, "--parallel.lanes 2");
    EXPECT_NE(hashes_of(out("lanes")).parameters, reference_.parameters);
    EXPECT_NE(hashes_of(out("lanes")).state, reference_.state);
}

TEST_F(SameBits, KilledAtRandomMomentsAndResumedOnOtherRanks) {
    const char* given = std::getenv("SKEIN_TEST_SEED");
    const unsigned seed = given ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
    SCOPED_TRACE("SKEIN_TEST_SEED=" + std::to_string(seed));
    std::mt19937 random(seed);
    const auto between = [&](int first, int last) {
        return first + static_cast<int>(random() % static_cast<unsigned>(last - first + 1));
    };

    // Within two lines of the log, counted from where this start begins: before any checkpoint, between steps
    // 20 and 40 from the start and from the checkpoint of step 20, and behind the one of step 40. Step 20
    // brings two lines.
    struct Kill {
        int first, last, ranks;
    };
    for (const Kill& kill : {Kill{2, 17, 4}, Kill{22, 39, 3}, Kill{1, 18, 1}, Kill{22, 30, 2}}) {
        const std::string moment = std::to_string(between(kill.first, kill.last)) + " " +
                                   std::to_string(between(1, 8000)) + " */log.jsonl";
        SCOPED_TRACE("killed at '" + moment + "' on " + std::to_string(kill.ranks) + " ranks");
        expect_killed_at("killed", kill.ranks, moment);
    }
    EXPECT_EQ(newest_checkpoint(out("killed"), ""), checkpoint_of(40));
    // And during a save, on several ranks and on one, before any of the calls by which its files become
    // durable: rank 0 makes at least six in each.
    for (const int ranks : {4, 1}) {
        const std::string moment = std::to_string(between(1, 24)) + " 0 */checkpoints/step-*.tmp*";
        SCOPED_TRACE("killed at '" + moment + "' on " + std::to_string(ranks) + " ranks");
        expect_killed_at("killed", ranks, moment, "--checkpoint.every 1");
        EXPECT_GT(newest_checkpoint(out("killed"), ".tmp"), newest_checkpoint(out("killed"), ""))
            << "no kill in a save";
    }
    expect_finish("killed", 3);
    EXPECT_EQ(starts_of(out("killed")), 7u);
    expect_same_as_reference("killed");
}

TEST_F(SameBits, StoppedBySignalsAndStartedAgain) {
    for (const int ranks : {2, 2, 1, 4}) {
        // The rank that writes the log stands still before its sixth line until the signal has come to it.
        RunningProgram program(train("stopped"), ranks, signal_at(SIGSTOP, "6 0 */log.jsonl"));
        pid_t stopped = 0;
        ASSERT_TRUE(becomes_true([&] {
            for (const pid_t rank : program.rank_pids())
                if (state_of(rank) == 'T') stopped = rank;
            return stopped != 0 || !program.runs();
        })) << program.errors();
        ASSERT_NE(stopped, 0) << program.errors();
        program.signal(SIGUSR1);
        ASSERT_TRUE(becomes_true([&] { return is_pending(stopped, SIGUSR1) || !program.runs(); }));
        ::kill(stopped, SIGCONT);
        const Outcome outcome = program.wait();
        EXPECT_EQ(outcome.code, 75) << outcome.errors;
        EXPECT_NE(outcome.errors.find("resume with: "), std::string::npos) << outcome.errors;
        EXPECT_FALSE(fs::exists(out("stopped") + "/lock"));
    }
    EXPECT_LT(newest_checkpoint(out("stopped"), ""), checkpoint_of(kSteps));
    expect_finish("stopped", 3);
    expect_same_as_reference("stopped");
}

}  // namespace
}  // namespace skein
