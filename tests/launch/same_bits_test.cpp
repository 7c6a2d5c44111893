// The promise: a run is a function of its configuration, its data and its seed, whatever it ran on and
// however often it was killed.

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

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

/// The last whole line's step; 0: none.
int logged_step(const std::string& run) {
    const std::string log = contents(run + "/log.jsonl");
    const std::size_t at = log.rfind("{\"step\":", log.rfind('\n'));
    return at == std::string::npos ? 0 : std::atoi(log.c_str() + at + 8);
}

/// The checkpoint that is being written: its step-N.tmp is there and no newer one. (An old one on its way out
/// is called step-N.tmp as well, but then there are newer ones.) Empty: none.
std::string saving(const std::string& run) {
    std::set<std::string> done, temporary;
    std::error_code ignored;
    for (fs::directory_iterator entry(run + "/checkpoints", ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
        std::string name = entry->path().filename().string();
        if (name.ends_with(".tmp"))
            temporary.insert(name.substr(0, name.size() - 4));
        else
            done.insert(name);
    }
    if (temporary.empty() || (!done.empty() && *temporary.rbegin() <= *done.rbegin())) return {};
    return *temporary.rbegin();
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

    /// Starts the run on `ranks` ranks and kills it once it has opened its log and `moment` has come. False
    /// when it had ended before.
    static bool kill_when(const std::string& run, int ranks, const std::function<bool()>& moment,
                          const std::string& more = "") {
        const std::size_t starts = starts_of(out(run));
        RunningProgram program(train(run, more), ranks);
        EXPECT_TRUE(becomes_true([&] {
            return (starts_of(out(run)) > starts && moment()) || !program.runs();
        })) << program.errors();
        const bool killed = program.kill_all();
        EXPECT_TRUE(killed) << "ended before the kill: " << program.errors();
        return killed;
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

    // the step in whose neighbourhood to kill, and the ranks; the first falls before any checkpoint
    struct Kill {
        int first, last, ranks;
    };
    for (const Kill& kill : {Kill{2, 17, 4}, Kill{21, 38, 3}, Kill{21, 38, 1}, Kill{41, 50, 2}}) {
        const int step =
            kill.first + static_cast<int>(random() % static_cast<unsigned>(kill.last - kill.first + 1));
        SCOPED_TRACE("killed at step " + std::to_string(step) + " on " + std::to_string(kill.ranks) +
                     " ranks");
        const auto more = std::chrono::microseconds(random() % 20'000);
        bool seen = false;
        std::chrono::steady_clock::time_point then;
        ASSERT_TRUE(kill_when("killed", kill.ranks, [&] {
            if (!seen && logged_step(out("killed")) >= step) {
                seen = true;
                then = std::chrono::steady_clock::now() + more;
            }
            return seen && std::chrono::steady_clock::now() >= then;
        }));
    }
    // and during a save, on several ranks and on one; a save may be over before the kill arrives, so a few
    // are tried
    for (const int ranks : {4, 1}) {
        bool fell_into_save = false;
        for (int attempt = 0; attempt < 10 && !fell_into_save && logged_step(out("killed")) < kSteps - 2;
             ++attempt) {
            const std::string left = saving(out("killed"));  // by the kill before
            ASSERT_TRUE(kill_when(
                "killed", ranks, [&] { return saving(out("killed")) > left; }, "--checkpoint.every 1"));
            fell_into_save = saving(out("killed")) > left;
        }
        EXPECT_TRUE(fell_into_save) << "no kill fell into a save on " << ranks << " ranks";
    }
    expect_finish("killed", 3);
    EXPECT_GE(starts_of(out("killed")), 7u);
    expect_same_as_reference("killed");
}

TEST_F(SameBits, StoppedBySignalsAndStartedAgain) {
    for (const int ranks : {2, 2, 1, 4}) {
        const int before = logged_step(out("stopped"));
        RunningProgram program(train("stopped"), ranks);
        ASSERT_TRUE(becomes_true([&] {
            return logged_step(out("stopped")) >= before + 5 || !program.runs();
        })) << program.errors();
        program.signal(SIGUSR1);
        const Outcome outcome = program.wait();
        EXPECT_EQ(outcome.code, 75) << outcome.errors;
        EXPECT_NE(outcome.errors.find("resume with: "), std::string::npos) << outcome.errors;
        EXPECT_FALSE(fs::exists(out("stopped") + "/lock"));
    }
    expect_finish("stopped", 3);
    expect_same_as_reference("stopped");
}

}  // namespace
}  // namespace skein
