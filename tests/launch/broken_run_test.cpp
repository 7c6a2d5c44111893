// What a rank or its surroundings do to a run, and how it ends: with the right rank named, with the right
// exit code, without a hang, and with a checkpoint to go on from. A rank that is stopped:
// stopped_rank_test.cpp.

#include "tests/launch/broken_run.h"

#include <sys/resource.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/rank_file.h"
#include "tests/launch/changed_bytes.h"
#include "tests/support/process_memory.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

const std::string kCollective = "[-a-z ]+ at [a-z_/]+\\.(cpp|h):[0-9]+ \\(call [0-9]+, step [0-9]+\\)";

TEST_F(BrokenRun, ARankThatIsKilledIsNamedByOneThatWaitsForIt) {
    // mpirun leaves the others a second to say so, which may be too short where much else runs
    std::vector<std::string> said;
    for (int attempt = 0; attempt < 3 && said.empty(); ++attempt) {
        begin();
        RunningProgram program(train("--checkpoint.every 0"), 3);
        expect_under_way(program);
        const auto from = Clock::now();
        ASSERT_EQ(::kill(program.rank_pid(2), SIGKILL), 0);
        const Outcome outcome = program.wait();
        const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
        EXPECT_EQ(outcome.code, 137) << outcome.errors;
        EXPECT_TRUE(
            std::regex_search(outcome.errors, std::regex("process rank 2 .* on node .* exited on signal 9")))
            << outcome.errors;
        said = failures(outcome);
        if (!said.empty()) add_row("kill -9 of rank 2", outcome.code, seconds, said[0]);
    }
    ASSERT_EQ(said.size(), 1u);
    EXPECT_TRUE(std::regex_match(
        said[0], std::regex("skein train: rank 0 on .*: asked to end while waiting for rank 2 on host .*: " +
                            kCollective)))
        << said[0];
    expect_resumes();
    // what runs.jsonl has of the one that was killed, which could not write its end itself
    std::vector<nlohmann::json> runs;
    for (const std::string& line : lines_of(contents(run() + "/runs.jsonl")))
        runs.push_back(nlohmann::json::parse(line));
    ASSERT_EQ(runs.size(), 6u);
    EXPECT_EQ(runs[1]["how"], "finished");
    EXPECT_GT(runs[1]["seconds"]["restarting"], 0.0);
    EXPECT_GT(runs[1]["seconds"]["productive"], 0.0);
    EXPECT_EQ(runs[1]["seconds"]["lost"], 0.0);
    EXPECT_EQ(runs[3]["how"], "died");
    EXPECT_GT(runs[3]["seconds"]["lost"], 0.0);
    EXPECT_EQ(runs[5]["how"], "finished");
    const Outcome inspected = run_skein({"inspect", run(), "--json"});
    ASSERT_EQ(inspected.code, 0) << inspected.errors;
    EXPECT_EQ(nlohmann::json::parse(inspected.out)["runs"]["starts"], 3);
}

/// A rank's shell puts another program in skein's place.
std::string odd_rank(const std::string& oddity) {
    return "shift; set -- '" SKEIN_ODD_RANK "' \"$@\"; export ODD_RANK='" + oddity + "';";
}

TEST_F(BrokenRun, AnExceptionOnOneRankEndsAll) {
    begin();
    const auto from = Clock::now();
    RunningProgram program(train("--checkpoint.every 0"), 3, odd_rank("1 22 throw"));
    expect_end(program, "an exception on rank 1 in step 25 (from the start)", from, 70,
               "skein train: rank 1 on .* \\(step 25\\): the weather is too bad to fly");
    expect_resumes();
}

TEST_F(BrokenRun, ARankInAnotherCollectiveIsTold) {
    begin();
    const auto from = Clock::now();
    RunningProgram program(train("--checkpoint.every 0 --parallel.timeout 600"), 2, odd_rank("1 22 barrier"));
    expect_end(program, "rank 1 calls a barrier in step 25 (from the start)", from, 71,
               "skein train: rank [01] on .*: " + kCollective +
                   ": rank [01] on host .*: the ranks are in different collectives.*");
    expect_resumes();
}

TEST_F(BrokenRun, ARankThatIsSlowEndsNothing) {
    const auto from = Clock::now();
    RunningProgram program(train("--train.steps 60"), 3);
    ASSERT_TRUE(becomes_true([&] { return log_lines() > 2 || !program.runs(); })) << program.errors();
    const pid_t slow = program.rank_pid(1);
    ASSERT_GT(slow, 0);
    for (int pause = 0; pause < 4 && program.runs(); ++pause) {  // stands still for a quarter of the timeout
        const std::size_t before = log_lines();
        ::kill(slow, SIGSTOP);
        const auto end = Clock::now() + std::chrono::milliseconds(500);
        becomes_true([&] { return Clock::now() >= end; });
        ::kill(slow, SIGCONT);
        becomes_true([&] { return log_lines() > before || !program.runs(); });
    }
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(failures(outcome).size(), 0u) << outcome.errors;
    add_row("rank 1 stands still for 0.5 s four times", outcome.code,
            std::chrono::duration<double>(Clock::now() - from).count(), "(the run is finished)");
}

TEST_F(BrokenRun, ARankThatFallsBehindForLongerThanTheTimeoutEndsTheRunAndComesTooLate) {
    begin();
    RunningProgram program(train("--checkpoint.every 0"), 3);
    expect_under_way(program);
    const pid_t slow = program.rank_pid(1);
    const auto from = Clock::now();
    ASSERT_EQ(::kill(slow, SIGSTOP), 0);
    EXPECT_TRUE(
        becomes_true([&] { return program.errors().find(" did not come within ") != std::string::npos; }));
    ::kill(slow, SIGCONT);
    expect_end(
        program, "rank 1 falls behind by more than 2 s", from, 71,
        "skein train: rank [02] on .*: " + kCollective + ": rank 1 on host .* did not come within 2 s.*");
    expect_resumes();
}

void limit_file_size(pid_t process, rlim_t bytes) {
    rlimit limit{};
    ASSERT_EQ(prlimit(process, RLIMIT_FSIZE, nullptr, &limit), 0);
    limit.rlim_cur = std::min(bytes, limit.rlim_max);
    ASSERT_EQ(prlimit(process, RLIMIT_FSIZE, &limit, nullptr), 0) << std::strerror(errno);
}

TEST_F(BrokenRun, ARankThatCannotWriteIsNamedAndTheRunGoesOnFromWhatItHas) {
    // A limit on the size of files stands for a full disk, which needs root's rights (launch.bad_input).
    RunningProgram program(train(), 2, "trap '' XFSZ;");
    expect_under_way(program);
    const pid_t process = program.rank_pid(1);
    const auto said = [&](const std::string& what) {
        return program.errors().find(what) != std::string::npos;
    };
    limit_file_size(process, 100);
    const std::string not_saved = "was not saved: rank 1 on ";
    ASSERT_TRUE(becomes_true([&] { return said(not_saved) || !program.runs(); })) << program.errors();
    const int before = newest_step();
    EXPECT_GT(before, 0);
    limit_file_size(process, RLIM_INFINITY);  // there is room again
    ASSERT_TRUE(becomes_true([&] { return newest_step() > before || !program.runs(); })) << program.errors();
    limit_file_size(process, 100);
    const auto from = Clock::now();
    program.signal(SIGUSR1);
    expect_end(program, "rank 1's disk is full when it is to stop", from, 74,
               "skein train: train: the last checkpoint could not be saved: rank 1 on .*: .*");
    expect_resumes();
}

TEST_F(BrokenRun, AShardThatOneRankCannotReadEndsAllAndNamesTheRank) {
    ASSERT_EQ(run_skein(train("--train.steps 3")).code, 0);
    // each rank has data of its own in its working directory
    for (const char* rank : {"0", "1"}) {
        fs::create_directory(folder_ / rank);
        fs::copy(data(), folder_ / rank + "/data");
    }
    const std::string shard = folder_ / "1/data/train-00000.h5";
    flip_stored_token(shard);
    const std::string cd = "cd '" + folder_.path() + "/'$OMPI_COMM_WORLD_RANK;";
    const auto from = Clock::now();
    RunningProgram flipped(train("--data data"), 2, cd);
    expect_end(flipped, "a changed byte in rank 1's shard (from the start)", from, 65,
               "skein train: rank 1 on .* \\(step [0-9]+\\): data/train-00000.h5.*/tokens.*");
    fs::resize_file(shard, fs::file_size(shard) / 2);
    const auto again = Clock::now();
    RunningProgram truncated(train("--data data"), 2, cd);
    expect_end(truncated, "rank 1's shard is cut short (from the start)", again, 65,
               "skein train: rank 1 on .* \\(loading\\): data/train-00000.h5: has [0-9]+ bytes.*");
    expect_resumes();
}

/// The bytes of a parameter in a checkpoint, one of some hundred elements.
std::string bytes_of_a_parameter(const std::string& checkpoint) {
    for (const TensorRecord& tensor : read_manifest(checkpoint).tensors) {
        if (!tensor.name.starts_with(kParametersPrefix) || tensor.shape.rank() < 2) continue;
        std::string bytes(static_cast<std::size_t>(tensor.shape.elements()) * size_of(tensor.dtype), '\0');
        PieceReader(checkpoint)
            .read(tensor, Box::whole(tensor.shape), std::as_writable_bytes(std::span(bytes)));
        return bytes;
    }
    return {};
}

TEST_F(BrokenRun, ANumberThatIsNoneOnOneRankIsSkippedByAllAndSpoilsNoCheckpoint) {
    // The rate is too small to change a parameter, so that a running rank holds what the checkpoint has. Rank
    // 0 stands still before it logs step 25; the next save would be due at step 40, amid the skipped steps.
    RunningProgram program(train("--schedule.kind constant --schedule.peak 1e-30 --schedule.warmup 0"
                                 " --optimizer.weight-decay 0 --train.max-skipped 30 --checkpoint.keep 1"
                                 " --checkpoint.background false --parallel.timeout 60"),
                           3,
                           "export LD_PRELOAD='" SKEIN_SIGNAL_AT "' SIGNAL_AT='" + std::to_string(SIGSTOP) +
                               " 25 0 */log.jsonl' ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0;");
    ASSERT_TRUE(becomes_true([&] {
        const pid_t first = program.rank_pid(0);
        return (first > 0 && state_of(first) == 'T') || !program.runs();
    })) << program.errors();
    ASSERT_TRUE(program.runs()) << program.errors();
    ASSERT_EQ(newest_step(), 20);
    const std::string values = bytes_of_a_parameter(run() + "/checkpoints/step-00000020").substr(0, 64);
    ASSERT_EQ(values.size(), 64u);
    const float none = std::numeric_limits<float>::quiet_NaN();
    EXPECT_GT(
        overwrite_in_memory(program.rank_pid(1), values, {reinterpret_cast<const char*>(&none), sizeof none}),
        0);
    const auto from = Clock::now();
    ASSERT_EQ(::kill(program.rank_pid(0), SIGCONT), 0);
    expect_end(program, "a parameter of rank 1 is not a number", from, 70,
               "skein train: train: 30 steps in a row had no finite loss and gradient on rank 1 on .* alone "
               "\\(--train\\.max-skipped\\); the newest checkpoint is .*");
    EXPECT_EQ(newest_step(), 20);
    expect_resumes();
}

TEST_F(BrokenRun, ANewestCheckpointThatIsDamagedIsPassedOver) {
    ASSERT_EQ(run_skein(train("--train.steps 6 --checkpoint.every 3"), 2).code, 0);
    const std::string newest = run() + "/checkpoints/step-00000006";
    flip_byte(newest + "/rank-00001.h5", fs::file_size(newest + "/rank-00001.h5") / 2);
    const auto from = Clock::now();
    const Outcome outcome = run_skein(train("--train.steps 8"), 2);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    std::string warning;
    for (const std::string& line : outcome.own_lines())
        if (line.find("is passed over") != std::string::npos) warning = line;
    EXPECT_NE(warning.find(newest + "/rank-00001.h5"), std::string::npos) << outcome.errors;
    EXPECT_NE(outcome.errors.find("at step 3\n"), std::string::npos) << outcome.errors;
    add_row("the newest checkpoint is damaged (resumed and finished)", outcome.code,
            std::chrono::duration<double>(Clock::now() - from).count(), warning);
}

TEST_F(BrokenRun, ASecondJobOnTheSameFolderIsRefusedAndTheFirstGoesOn) {
    RunningProgram first(train(), 2, "export SLURM_JOB_ID=4242;");
    expect_under_way(first);
    const auto from = Clock::now();
    RunningProgram second(train(), 2);
    expect_end(second, "a second job on the same --out (from its start)", from, 64,
               "skein train: --out .*/run: process " + std::to_string(first.rank_pid(0)) +
                   " on .* \\(SLURM job 4242\\) is writing there.*");
    const std::size_t lines = log_lines();
    EXPECT_TRUE(becomes_true([&] { return log_lines() > lines || !first.runs(); }));
    first.signal(SIGUSR1);
    const Outcome outcome = first.wait();
    EXPECT_EQ(outcome.code, 75) << outcome.errors;
    expect_resumes();
}

}  // namespace
}  // namespace skein
