// The promise: a run is a function of its configuration, its data and its seed, whatever it ran on and
// however often it was killed.

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/chance.h"
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
    const std::vector<std::string> lines = lines_of(contents(run + "/runs.jsonl"));
    return static_cast<std::size_t>(std::ranges::count_if(
        lines, [](const std::string& line) { return Json::parse(line)["event"] == "start"; }));
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

/// A kind of model, with its data and its options.
struct Kind {
    std::string name, prepare, train;
    friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

/// What every other run is to be equal to: one rank, one thread, never interrupted.
struct Reference {
    Hashes hashes;
    std::vector<std::string> log;
};

/// The lines of a text, and each line's words backwards.
void write_pairs(const TemporaryFolder& folder) {
    std::string source, target;
    for (const std::string& line : lines_of(pseudo_text(20'000))) {
        std::string backwards;
        for (const std::string& word : words(line)) backwards = word + " " + backwards;
        source += line + "\n";
        target += backwards + "\n";
    }
    write(folder / "source.txt", source);
    write(folder / "target.txt", target);
}

class SameBits : public testing::TestWithParam<Kind> {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        write(*folder_ / "text.txt", pseudo_text(20'000));
        write_pairs(*folder_);
    }
    static void TearDownTestSuite() {
        delete folder_;
        references_.clear();
    }

    /// Prepares the kind's data and makes its reference, once.
    void SetUp() override {
        if (references_.contains(GetParam().name)) return;
        std::string line = GetParam().prepare + " --out " + data();
        for (const char* file : {"text.txt", "source.txt", "target.txt"})
            if (const std::size_t at = line.find(file); at != std::string::npos)
                line.insert(at, *folder_ / "");
        const Outcome prepared = run_skein(words("prepare " + line));
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
        expect_finish("reference", 1);
        const Reference reference{hashes_of(out("reference")), log_of(out("reference"))};
        ASSERT_NE(reference.hashes.parameters, "");
        ASSERT_EQ(reference.log.size(), kSteps + 3u) << "60 steps and 3 evaluations";
        references_[GetParam().name] = reference;
    }

    static std::string data() { return *folder_ / (GetParam().name + "-data"); }
    static std::string out(const std::string& run) { return *folder_ / (GetParam().name + "-" + run); }
    static const Reference& reference() { return references_.at(GetParam().name); }

    /// The run's command line; `more` replaces options or adds some.
    static std::vector<std::string> train(const std::string& run, const std::string& more = "") {
        std::vector<std::string> line = words(
            "--data " + data() + " --out " + out(run) + " " + GetParam().train +
            " --model.width 32 --model.heads 2 --model.dropout 0.1 --train.steps " + std::to_string(kSteps) +
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
        EXPECT_EQ(hashes_of(out(run)), reference().hashes) << run;
        EXPECT_EQ(log_of(out(run)), reference().log) << run;
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
    static std::map<std::string, Reference> references_;
};
TemporaryFolder* SameBits::folder_;
std::map<std::string, Reference> SameBits::references_;

INSTANTIATE_TEST_SUITE_P(
    , SameBits,
    testing::Values(
        Kind{"Decoder", "--text text.txt --tokenizer chars",
             "--model.layers 2 --model.context 16 --train.batch 12"},
        Kind{"EncoderDecoder",
             "--source source.txt --target target.txt --vocab 320 --max-length 40 --valid-fraction 0.1",
             "--model.kind encoder-decoder --model.layers 1 --model.context 48 --model.norm post "
             "--model.position sinusoidal --train.batch-tokens 120 --train.long-pairs truncate "
             "--train.label-smoothing 0.1"}),
    [](const auto& kind) { return kind.param.name; });

/// Of the reference's steps.
std::set<std::int64_t> samples_of(const Reference& reference) {
    std::set<std::int64_t> samples;
    for (const std::string& line : reference.log)
        if (const Json json = Json::parse(line); json.contains("samples"))
            samples.insert(json["samples"].get<std::int64_t>());
    return samples;
}

TEST_P(SameBits, SomeLanesAreEmptyWhereBatchesAreByTokens) {
    const std::set<std::int64_t> samples = samples_of(reference());
    ASSERT_FALSE(samples.empty());
    if (GetParam().name == "Decoder") {
        EXPECT_EQ(samples, std::set<std::int64_t>{12});
    } else {
        EXPECT_LT(*samples.begin(), 4) << "batches of fewer pairs than lanes";
        EXPECT_GT(*samples.rbegin(), 4);
    }
}

TEST_P(SameBits, OnAnyNumberOfRanks) {
    for (const int ranks : {2, 3, 4}) {
        const std::string run = "ranks-" + std::to_string(ranks);
        expect_finish(run, ranks);
        expect_same_as_reference(run);
    }
}

TEST_P(SameBits, WithAShardedOptimizer) {
    for (const int ranks : {2, 4}) {
        const std::string run = "zero-" + std::to_string(ranks);
        expect_finish(run, ranks, "--parallel.zero 1");
        expect_same_as_reference(run);
    }
}

TEST_P(SameBits, WithTwoThreads) {
    expect_finish("threads-2", 1, "--parallel.threads 2");
    expect_same_as_reference("threads-2");
    expect_finish("ranks-2-threads-2", 2, "--parallel.threads 2");
    expect_same_as_reference("ranks-2-threads-2");
}

TEST_P(SameBits, AnotherSeedOrOtherLanesGiveOtherBits) {
    expect_finish("seed", 1, "--train.seed 2");
    EXPECT_NE(hashes_of(out("seed")).parameters, reference().hashes.parameters);
    EXPECT_NE(hashes_of(out("seed")).state, reference().hashes.state);
    expect_finish("lanes", 1, "--parallel.lanes 2");
    EXPECT_NE(hashes_of(out("lanes")).parameters, reference().hashes.parameters);
    EXPECT_NE(hashes_of(out("lanes")).state, reference().hashes.state);
}

TEST_P(SameBits, KilledAtRandomMomentsAndResumedOnOtherRanks) {
    Chance chance;
    SCOPED_TRACE(chance.how_to_repeat());
    const auto between = [&](int first, int last) {
        return first + static_cast<int>(chance.below(static_cast<std::size_t>(last - first + 1)));
    };

    // Within two lines of the log, counted from where this start begins: before any checkpoint, between steps
    // 20 and 40 from the start and from the checkpoint of step 20, and behind the one of step 40. Step 20
    // brings two lines. Saves are waited for here, as so many steps may be over before a disk has written
    // one.
    struct Kill {
        int first, last, ranks;
        const char* zero;
    };
    const std::string zero = "--parallel.zero ";
    for (const Kill& kill :
         {Kill{2, 17, 4, "0"}, Kill{22, 39, 3, "1"}, Kill{1, 18, 1, "0"}, Kill{22, 30, 2, "1"}}) {
        const std::string moment = std::to_string(between(kill.first, kill.last)) + " " +
                                   std::to_string(between(1, 8000)) + " */log.jsonl";
        SCOPED_TRACE("killed at '" + moment + "' on " + std::to_string(kill.ranks) + " ranks");
        expect_killed_at("killed", kill.ranks, moment, "--checkpoint.background false " + zero + kill.zero);
    }
    EXPECT_EQ(newest_checkpoint(out("killed"), ""), checkpoint_of(40));
    // And during a save, on several ranks and on one, before any of the calls by which its files become
    // durable: rank 0 makes at least six in each.
    for (const int ranks : {4, 1}) {
        const std::string moment = std::to_string(between(1, 24)) + " 0 */checkpoints/step-*.tmp*";
        SCOPED_TRACE("killed at '" + moment + "' on " + std::to_string(ranks) + " ranks");
        expect_killed_at("killed", ranks, moment,
                         "--checkpoint.every 1 --checkpoint.background true --parallel.zero 1");
        EXPECT_GT(newest_checkpoint(out("killed"), ".tmp"), newest_checkpoint(out("killed"), ""))
            << "no kill in a save";
    }
    expect_finish("killed", 3, "--parallel.zero 0");
    EXPECT_EQ(starts_of(out("killed")), 7u);
    expect_same_as_reference("killed");
}

TEST_P(SameBits, StoppedBySignalsAndStartedAgain) {
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
