// The scripts of launch/ among programs that only pretend: what they start, and what an exit code makes them
// do. stopping_test runs the wrapper for real, tests/launch/slurm the job scripts.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <tuple>

#include "tests/support/program.h"

namespace skein {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

const std::string kLaunch = SKEIN_LAUNCH_FOLDER;

/// A folder in front of the search path. The launchers in it take a line "CODE STEP" off the plan each time
/// they are started, leave a checkpoint of that step, unless it is "-", and exit with that code; with the
/// word "wait" they wait for SIGUSR1 instead, and exit with 75, with "die" they are killed by it, and with
/// "deaf" they heed the third. A line "CODE STEP SEQUENCE" says a checkpoint's place among the saves, which
/// is its step otherwise. What is called is in `calls`, a line each, and the words of the last start in
/// `words`.
class Scripts : public testing::Test {
  protected:
    Scripts() {
        fake("skein", "");
        const std::string launcher = R"(
if [ "$1" = --mpi=list ]; then cat "$FAKE/plugins"; exit 0; fi
echo "$(basename "$0") $*" >> "$FAKE/calls"
printf '%s\n' "$@" > "$FAKE/words"
read code step sequence < "$FAKE/plan"
sed -i 1d "$FAKE/plan"
if [ "$code" = wait ] || [ "$code" = die ] || [ "$code" = deaf ]; then
    end=75 misses=0
    [ "$code" != die ] || end=138
    [ "$code" != deaf ] || misses=2
    trap 'echo USR1 >> "$FAKE/calls"; [ $((misses--)) -gt 0 ] || exit $end' USR1
    trap 'echo TERM >> "$FAKE/calls"; exit 1' TERM
    trap 'echo INT >> "$FAKE/calls"; exit 2' INT
    touch "$FAKE/waits"
    while kill -0 "$PPID" 2>/dev/null; do sleep 0.02; done
fi
if [ "$step" != - ]; then
    mkdir -p "$FAKE/run/checkpoints/step-0000$step"
    printf '{\n"step": %d,\n"sequence": %d,\n' $((10#$step)) ${sequence:-$((10#$step))} \
        > "$FAKE/run/checkpoints/step-0000$step/manifest.json"
fi
exit "$code")";
        fake("srun", launcher);
        fake("mpirun", launcher);
        fake("scontrol", R"(
if [ "$1 $2" = "show node" ]; then cat "$FAKE/node" 2>/dev/null
elif [ "$1" = show ]; then cat "$FAKE/job" 2>/dev/null; else echo "scontrol $*" >> "$FAKE/calls"; fi)");
        write(folder_ / "plugins", "MPI plugin types are...\n\tnone\n\tpmix\n\tpmi2\n");
        environment_ = {{"PATH", folder_ / "bin:" + std::getenv("PATH")},
                        {"FAKE", folder_.path()},
                        {"SKEIN", folder_ / "bin/skein"}};
        for (const char* name :
             {"SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_CPUS_PER_TASK", "SLURM_NTASKS",
              "SLURM_JOB_NUM_NODES", "SKEIN_MOST_RESTARTS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT"})
            unsetenv(name);  // of the job, perhaps, that the tests run in
    }

    void fake(const std::string& name, const std::string& body) {
        std::filesystem::create_directory(folder_ / "bin");
        write(folder_ / ("bin/" + name), "#!/bin/bash\n" + body + "\n");
        ASSERT_EQ(chmod((folder_ / ("bin/" + name)).c_str(), 0755), 0);
    }

    void plan(const std::string& lines) { write(folder_ / "plan", lines); }

    std::unique_ptr<RunningProgram> start(const std::string& script,
                                          const std::vector<std::string>& arguments,
                                          const Environment& more = {}) {
        Environment all = environment_;
        all.insert(all.end(), more.begin(), more.end());
        return std::make_unique<RunningProgram>(
            ShellCommand{std::vector<std::string>{kLaunch + "/" + script} + arguments, all}, 0);
    }
    Outcome run(const std::string& script, const std::vector<std::string>& arguments,
                const Environment& more = {}) {
        return start(script, arguments, more)->wait();
    }

    /// The job script as job 7's start number `restarts`.
    std::unique_ptr<RunningProgram> start_job(const std::string& script, int restarts = 0,
                                              const std::vector<std::string>& more = {}) {
        return start(script, std::vector<std::string>{"train", "--out", folder_ / "run"} + more,
                     {{"SLURM_JOB_ID", "7"}, {"SLURM_RESTART_COUNT", std::to_string(restarts)}});
    }

    /// A program of the search path that the scripts call before they start anything: it waits until `go` is
    /// there, so that a signal can come meanwhile.
    void fake_that_waits(const std::string& name, const std::string& then = "") {
        fake(name, "touch \"$FAKE/waits\"; while [ ! -e \"$FAKE/go\" ]; do sleep 0.02; done\n" + then);
    }
    void wait_for(const std::string& file, RunningProgram& program) {
        ASSERT_TRUE(becomes_true([&] { return std::filesystem::exists(folder_ / file); }))
            << program.errors();
    }

    /// What skein's words of the last start were, behind its program's name.
    std::vector<std::string> words_of_start() const {
        const std::vector<std::string> all = lines_of(contents(folder_ / "words"));
        const auto program = std::ranges::find(all, folder_ / "bin/skein");
        return {program == all.end() ? program : program + 1, all.end()};
    }

    std::vector<std::string> calls() const { return lines_of(contents(folder_ / "calls")); }
    std::size_t requeues() const { return static_cast<std::size_t>(std::ranges::count(calls(), kRequeue)); }

    static constexpr const char* kRequeue = "scontrol requeue 7";
    TemporaryFolder folder_;
    Environment environment_;
};

class JobScripts : public Scripts, public testing::WithParamInterface<const char*> {};

TEST_P(JobScripts, RequeueOn75AndEndWithAnyOtherCode) {
    plan("75 0010\n0 0020\n71 -\n137 -\n");
    EXPECT_EQ(start_job(GetParam())->wait().code, 75);
    EXPECT_EQ(requeues(), 1u);
    EXPECT_EQ(start_job(GetParam(), 1)->wait().code, 0);
    for (const int code : {71, 137}) {
        const Outcome outcome = start_job(GetParam(), 2)->wait();
        EXPECT_EQ(outcome.code, code);
        EXPECT_EQ(outcome.errors,
                  std::string(GetParam()) + ": ended with code " + std::to_string(code) + ": not requeued\n");
    }
    EXPECT_EQ(requeues(), 1u);
}

TEST_P(JobScripts, GiveUpAfterThreeStartsWithoutANewerCheckpoint) {
    plan("75 0010\n75 0010\n75 0010\n75 0020\n75 0020\n75 0020\n75 0020\n");
    int start = 0;
    for (; start < 6; ++start) EXPECT_EQ(start_job(GetParam(), start)->wait().code, 75);
    EXPECT_EQ(requeues(), 6u) << "two without progress, then a newer one, then two without again";
    const Outcome last = start_job(GetParam(), start)->wait();
    EXPECT_EQ(last.code, 75);
    EXPECT_EQ(requeues(), 6u);
    EXPECT_EQ(last.errors, std::string(GetParam()) +
                               ": stopped for good: 3 starts without a checkpoint newer than step 20 in " +
                               (folder_ / "run") + "\n");
    plan("75 0020\n");
    start_job(GetParam(), 0)->wait();
    EXPECT_EQ(requeues(), 7u) << "submitted by hand it counts anew";
}

TEST_P(JobScripts, PassUsr1OnAndRequeueAndAfterTermEnd) {
    for (const int signal : {SIGUSR1, SIGTERM}) {
        plan("wait -\n");
        std::filesystem::remove(folder_ / "waits");
        std::filesystem::remove(folder_ / "calls");
        const auto job = start_job(GetParam());
        std::filesystem::create_directories(folder_ / "run/checkpoints");
        ASSERT_TRUE(becomes_true([&] { return std::filesystem::exists(folder_ / "waits"); }))
            << job->errors();
        job->signal(signal);
        const Outcome outcome = job->wait();
        EXPECT_EQ(outcome.code, 75) << outcome.errors;
        ASSERT_GE(calls().size(), 2u);
        EXPECT_EQ(calls()[1], "USR1") << "and nothing else comes to the launcher";
        EXPECT_EQ(requeues(), signal == SIGUSR1 ? 1u : 0u) << outcome.errors;
    }
}

TEST_P(JobScripts, StartNothingAfterASignalAndRequeue) {
    fake_that_waits("scontrol", R"([ "$1" = show ] || echo "scontrol $*" >> "$FAKE/calls")");
    const auto job = start_job(GetParam());
    wait_for("waits", *job);
    job->signal(SIGUSR1);
    write(folder_ / "go", "");
    const Outcome outcome = job->wait();
    EXPECT_EQ(outcome.code, 75) << outcome.errors;
    EXPECT_EQ(calls(), std::vector<std::string>{kRequeue});
}

TEST_P(JobScripts, RequeueWhatSigusr1HasKilledAsLongAsThereIsProgress) {
    plan("138 -\n138 -\n138 -\n");
    for (int start = 0; start < 3; ++start) EXPECT_EQ(start_job(GetParam(), start)->wait().code, 75);
    EXPECT_EQ(requeues(), 2u);
    plan("75 0010\n138 -\n138 -\n138 -\n");
    for (int start = 0; start < 4; ++start) EXPECT_EQ(start_job(GetParam(), start)->wait().code, 75);
    EXPECT_EQ(requeues(), 2u + 3u);
}

TEST_P(JobScripts, AskAgainUntilTheLauncherHears) {
    fake("sleep", "exec /bin/sleep 0.02");
    plan("deaf -\n");
    const auto job = start_job(GetParam());
    wait_for("waits", *job);
    job->signal(SIGUSR1);
    EXPECT_EQ(job->wait().code, 75);
    EXPECT_EQ(std::ranges::count(calls(), "USR1"), 3);
    EXPECT_EQ(requeues(), 1u);
}

TEST_P(JobScripts, ResumeFromWhatIsGivenOnlyUntilThereIsACheckpointOfTheirOwn) {
    const std::string out = folder_ / "run";
    const std::vector<std::string> kept{"train", "--out", out, "--data", "a  b", "--log.every", "*"};
    for (const std::vector<std::string>& resume :
         {std::vector<std::string>{"--resume", "/other run"}, {"--resume=never"}}) {
        std::filesystem::remove_all(out);
        plan("0 0050\n75 -\n75 -\n75 0020 60\n75 0030 70\n");
        start_job(GetParam())->wait();  // another, of earlier
        const auto words_of = [&](int start) {
            start_job(GetParam(), start, resume + std::vector<std::string>(kept.begin() + 3, kept.end()))
                ->wait();
            return words_of_start();
        };
        const std::vector<std::string> given = std::vector<std::string>{"train", "--out", out} + resume +
                                               std::vector<std::string>(kept.begin() + 3, kept.end());
        for (const int start : {0, 1, 2}) EXPECT_EQ(words_of(start), given) << start;
        EXPECT_EQ(words_of(3), kept);
    }
}

TEST_P(JobScripts, CountAsProgressWhatWasSavedLastAndNotTheHighestStep) {
    // from step 50 on a run went back to step 10, and has not come to 50 again
    plan("75 0050 1\n75 0020 2\n75 0030 3\n75 0040 4\n75 0045 5\n75 -\n75 -\n75 -\n");
    int start = 0;
    for (; start < 7; ++start) start_job(GetParam(), start)->wait();
    EXPECT_EQ(requeues(), 7u);
    const Outcome last = start_job(GetParam(), start)->wait();
    EXPECT_EQ(requeues(), 7u);
    EXPECT_NE(last.errors.find("3 starts without a checkpoint newer than step 45 in "), std::string::npos)
        << last.errors;
}

TEST_P(JobScripts, RequeueWhenPreemptedWhateverTheCode) {
    const auto job = [&](const std::string& preempted) {
        write(folder_ / "job",
              "JobId=7 JobName=skein\n   StartTime=2024-05-01T10:00:00 EndTime=Unknown\n"
              "   PreemptEligibleTime=2024-05-01T10:00:00 PreemptTime=" +
                  preempted + "\n");
    };
    for (const char* none : {"None", "N/A"}) {
        job(none);
        plan("143 -\n");
        EXPECT_EQ(start_job(GetParam(), 1)->wait().code, 143);
        EXPECT_EQ(requeues(), 0u) << none;
    }
    job("2024-05-01T10:30:00");
    plan("0 0010\n143 -\n143 -\n143 -\n");
    EXPECT_EQ(start_job(GetParam())->wait().code, 0);
    EXPECT_EQ(requeues(), 0u) << "it is done";
    for (int start = 0; start < 3; ++start) EXPECT_EQ(start_job(GetParam(), start)->wait().code, 143);
    EXPECT_EQ(requeues(), 2u) << "and the third time there is no progress";
}

TEST_P(JobScripts, WantATrainingRunAndAJob) {
    const Environment job = {{"SLURM_JOB_ID", "7"}};
    EXPECT_EQ(run(GetParam(), {"train", "--data", "x"}, job).code, 64) << "without --out";
    EXPECT_EQ(run(GetParam(), {"inspect", "--out", "x"}, job).code, 64);
    EXPECT_EQ(run(GetParam(), {"train", "--out", "x"}).code, 64) << "without a job";
    EXPECT_EQ(run(GetParam(), {"train", "--out", "x"}, {{"SLURM_JOB_ID", "7"}, {"SKEIN", "/nowhere"}}).code,
              66);
    EXPECT_EQ(calls().size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(BothWays, JobScripts, testing::Values("skein.sbatch", "skein-mpirun.sbatch"),
                         [](const auto& script) { return script.index == 0 ? "Srun" : "Mpirun"; });

TEST_F(Scripts, SrunIsToldOfPmixAndOfTheCoresOfATask) {
    plan("0 -\n0 -\n");
    const std::vector<std::string> words{"train", "--out=" + (folder_ / "run"), "--data", "a  b"};
    run("skein.sbatch", words, {{"SLURM_JOB_ID", "7"}, {"SLURM_CPUS_PER_TASK", "4"}});
    run("skein-mpirun.sbatch", words,
        {{"SLURM_JOB_ID", "7"}, {"SLURM_CPUS_PER_TASK", "4"}, {"SLURM_NTASKS", "6"}});
    const std::string program =
        (folder_ / "bin/skein") + " train --out=" + (folder_ / "run") + " --data a  b";
    EXPECT_EQ(calls(),
              (std::vector<std::string>{"srun --mpi=pmix --kill-on-bad-exit=0 --cpus-per-task=4 " + program,
                                        "mpirun -np 6 --map-by slot:PE=4 --bind-to core " + program}));
}

TEST_F(Scripts, MpirunIsToldOfCoresWhereSlurmCountsHardwareThreads) {
    const std::string threads = "CPUAlloc=0 CPUEfctv=16 CPUTot=16 CPULoad=0.1\n",
                      cores_only = "CPUAlloc=0 CPUEfctv=8 CPUTot=8 CPULoad=0.1\n";
    plan("0 -\n0 -\n0 -\n0 -\n");
    for (const auto& [node, cpus, cores] :
         {std::tuple(threads, "8", "4"), {threads, "3", "1"}, {threads, "1", "1"}, {cores_only, "8", "8"}}) {
        write(folder_ / "node", node + "   Boards=1 Sockets=2 CoresPerSocket=4 ThreadsPerCore=2\n");
        run("skein-mpirun.sbatch", {"train", "--out", folder_ / "run"},
            {{"SLURM_JOB_ID", "7"}, {"SLURM_CPUS_PER_TASK", cpus}, {"SLURMD_NODENAME", "a"}});
        EXPECT_NE(calls().back().find(std::string(" slot:PE=") + cores + " "), std::string::npos)
            << calls().back();
    }
}

TEST_F(Scripts, WithoutPmixTheJobEndsWithALineThatNamesTheOtherScript) {
    write(folder_ / "plugins", "MPI plugin types are...\n\tnone\n\tpmi2\n");
    const Outcome outcome = start_job("skein.sbatch")->wait();
    EXPECT_EQ(outcome.code, 71);
    EXPECT_EQ(outcome.errors,
              "skein.sbatch: this SLURM has no PMIx (srun --mpi=list): use skein-mpirun.sbatch\n");
    EXPECT_EQ(calls().size(), 0u);
}

TEST_F(Scripts, TheWrapperHandsOnCodesAndRestartsNothing) {
    plan("0 -\n75 0010\n71 -\n");
    for (const int code : {0, 75, 71})
        EXPECT_EQ(run("skein-mpirun", {"-np", "2", "--", "train", "--out", folder_ / "run"}).code, code);
    EXPECT_EQ(calls().size(), 3u);
}

TEST_F(Scripts, TheWrapperRestartsOn75WhenAskedAsLongAsThereIsProgress) {
    const std::vector<std::string> words{"-np", "2", "--restart", "--", "train", "--out", folder_ / "run"};
    plan("75 0010\n75 0020\n0 0030\n");
    EXPECT_EQ(run("skein-mpirun", words).code, 0);
    EXPECT_EQ(calls().size(), 3u);
    plan("75 0040\n71 -\n");
    EXPECT_EQ(run("skein-mpirun", words).code, 71);
    EXPECT_EQ(calls().size(), 5u);
    plan("75 0040\n75 0040\n75 0040\n75 0040\n75 0040\n");
    const Outcome outcome = run("skein-mpirun", words);
    EXPECT_EQ(outcome.code, 75);
    EXPECT_EQ(calls().size(), 8u) << "three starts";
    EXPECT_NE(outcome.errors.find("stopped for good: 3 starts"), std::string::npos) << outcome.errors;
}

TEST_F(Scripts, TheWrapperTurnsEachSignalIntoUsr1AndThenEnds) {
    std::filesystem::create_directories(folder_ / "run/checkpoints");
    for (const int signal : {SIGUSR1, SIGINT, SIGTERM, SIGHUP}) {
        plan("wait -\n0 -\n");
        std::filesystem::remove(folder_ / "waits");
        std::filesystem::remove(folder_ / "calls");
        const auto wrapper =
            start("skein-mpirun", {"-np", "2", "--restart", "--", "train", "--out", folder_ / "run"});
        ASSERT_TRUE(becomes_true([&] { return std::filesystem::exists(folder_ / "waits"); }))
            << wrapper->errors();
        wrapper->signal(signal);
        EXPECT_EQ(wrapper->wait().code, 75);
        ASSERT_EQ(calls().size(), 2u);
        EXPECT_EQ(calls()[1], "USR1") << signal;
    }
}

TEST_F(Scripts, TheWrapperEndsWith75WhenItsSignalComesBeforeMpirunListens) {
    const std::vector<std::string> words{"-np", "2", "--restart", "--", "train", "--out", folder_ / "run"};
    plan("die -\n0 -\n");
    const auto wrapper = start("skein-mpirun", words);
    wait_for("waits", *wrapper);
    wrapper->signal(SIGTERM);
    EXPECT_EQ(wrapper->wait().code, 75);
    EXPECT_EQ(calls().size(), 2u);
    plan("138 -\n");
    EXPECT_EQ(run("skein-mpirun", words).code, 138) << "of which this script knows nothing";

    std::filesystem::remove(folder_ / "calls");
    std::filesystem::remove(folder_ / "waits");
    fake_that_waits("lscpu");
    const auto early = start("skein-mpirun", words);
    wait_for("waits", *early);
    early->signal(SIGINT);
    write(folder_ / "go", "");
    EXPECT_EQ(early->wait().code, 75);
    EXPECT_EQ(calls().size(), 0u) << "mpirun was not started";
}

TEST_F(Scripts, TheWrapperResumesFromWhatIsGivenOnlyOnce) {
    const std::vector<std::string> given{"train", "--out",    folder_ / "run", "--data",
                                         "a  b",  "--resume", "/other run"};
    plan("75 -\n71 -\n");
    const std::vector<std::string> words = std::vector<std::string>{"--restart", "--"} + given;
    EXPECT_EQ(run("skein-mpirun", words).code, 71);
    EXPECT_EQ(words_of_start(), given);
    plan("75 0010\n71 -\n");
    EXPECT_EQ(run("skein-mpirun", words).code, 71);
    EXPECT_EQ(words_of_start(), std::vector<std::string>(given.begin(), given.end() - 2));
    plan("71 -\n");
    EXPECT_EQ(run("skein-mpirun", words).code, 71);
    EXPECT_EQ(words_of_start(), given) << "by hand again";
}

TEST_F(Scripts, TheWrapperSharesOutHostsRanksAndCores) {
    fake("nproc", "echo 8");
    fake("lscpu", "echo '# core,socket'; for i in 0 1 2 3 4 5 6 7; do echo $i,0; echo $i,0; done");
    fake("nvidia-smi", "exit 9");
    const auto line = [&](const std::vector<std::string>& words) {
        const Outcome outcome =
            run("skein-mpirun", words + std::vector<std::string>{"--print", "--", "train"});
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        const std::string out = outcome.out, program = " " + (folder_ / "bin/skein") + " train \n";
        EXPECT_TRUE(out.ends_with(program)) << out;
        return out.substr(0, out.size() - std::min(out.size(), program.size()));
    };
    EXPECT_EQ(line({}), "mpirun -np 1 --map-by ppr:1:node:PE=8 --bind-to core");
    EXPECT_EQ(line({"-np", "2"}), "mpirun -np 2 --map-by ppr:2:node:PE=4 --bind-to core");
    EXPECT_EQ(line({"-np", "3", "--cores", "2"}), "mpirun -np 3 --map-by ppr:3:node:PE=2 --bind-to core");
    EXPECT_EQ(line({"-np", "3", "--no-bind"}), "mpirun -np 3 --oversubscribe --bind-to none");
    EXPECT_EQ(line({"-np", "9"}), "mpirun -np 9 --oversubscribe --bind-to none");
    EXPECT_EQ(line({"-H", "a,b", "-np", "3"}),
              "mpirun -np 3 -H a:2\\,b:2 --map-by ppr:2:node:PE=4 --bind-to core");
    EXPECT_EQ(line({"-H", "a:4,b:4", "-np", "8"}),
              "mpirun -np 8 -H a:4\\,b:4 --map-by ppr:4:node:PE=2 --bind-to core");
    write(folder_ / "hosts", "# two\na slots=4\n\nb slots=4 # and so on\n");
    EXPECT_EQ(line({"--hostfile", folder_ / "hosts"}),
              "mpirun -np 2 --hostfile " + (folder_ / "hosts") + " --map-by ppr:1:node:PE=8 --bind-to core");
    fake("nvidia-smi", "echo 'GPU 0: one'; echo 'GPU 1: two'");
    EXPECT_EQ(line({"-H", "a,b"}), "mpirun -np 4 -H a:2\\,b:2 --map-by ppr:2:node:PE=4 --bind-to core");
}

TEST_F(Scripts, TheWrapperCountsCoresWhateverOpenMpIsToldToUse) {
    fake("lscpu", "");
    const std::vector<std::string> words{"--print", "--", "train"};
    const std::string line = run("skein-mpirun", words).out;
    EXPECT_EQ(run("skein-mpirun", words, {{"OMP_NUM_THREADS", "77"}}).out, line);
    EXPECT_EQ(run("skein-mpirun", words, {{"OMP_THREAD_LIMIT", "1"}, {"OMP_NUM_THREADS", "1"}}).out, line);
}

TEST_F(Scripts, TheWrapperNamesAnOptionThatIsWrong) {
    for (const auto& words :
         std::vector<std::vector<std::string>>{{},
                                               {"-np", "2"},
                                               {"-np"},
                                               {"-np", "0", "--", "train"},
                                               {"-np", "two", "--", "train"},
                                               {"--cores", "x", "--", "train"},
                                               {"--hosts", "a", "--", "train"},
                                               {"--restart", "--", "train"},
                                               {"-H", "a", "--hostfile", "/dev/null", "train"}}) {
        const Outcome outcome = run("skein-mpirun", words);
        EXPECT_EQ(outcome.code, 64) << outcome.errors;
        EXPECT_EQ(lines_of(outcome.errors).size(), 1u) << outcome.errors;
    }
    EXPECT_EQ(calls().size(), 0u);
}

/// Whether a report has a line that begins so.
testing::AssertionResult says(const Outcome& report, const std::string& beginning) {
    for (const std::string& line : lines_of(report.out))
        if (line.starts_with(beginning)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "no line begins with '" << beginning << "':\n" << report.out;
}

class Doctor : public Scripts {
  protected:
    Doctor() {  // the real ones
        for (const char* name : {"srun", "mpirun", "skein"})
            std::filesystem::remove(folder_ / (std::string("bin/") + name));
        environment_.back() = {"SKEIN", SKEIN_PROGRAM};
        fake("nvidia-smi", "echo 'no devices' >&2; exit 9");
        fake("srun", "echo 'MPI plugin types are...'; echo none; echo pmix");
    }
};

TEST_F(Doctor, FindsAllThatIsNeeded) {
    const Outcome report = run("doctor", {"--out", folder_ / "run"});
    EXPECT_EQ(report.code, 0) << report.out << report.errors;
    EXPECT_TRUE(says(report, "ok       program: "));
    EXPECT_TRUE(says(report, "ok       MPI: "));
    EXPECT_TRUE(says(report, "ok       SLURM: "));
    EXPECT_TRUE(says(report, "ok       GPU: no GPU: runs on the CPU"));
    EXPECT_TRUE(says(report, "ok       memory: "));
    EXPECT_TRUE(says(report, "ok       open files: "));
    EXPECT_EQ(report.out.find("MISSING"), std::string::npos) << report.out;
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "run")) << "it leaves nothing behind";
}

TEST_F(Doctor, SaysWhatIsMissingInALineEach) {
    environment_.push_back({"SKEIN", "/nowhere/skein"});
    fake("srun", "echo 'MPI plugin types are...'; echo none");
    write(folder_ / "file", "");
    const Outcome report = run("doctor", {"--out", folder_ / "file/run"});
    EXPECT_EQ(report.code, 1);
    EXPECT_TRUE(says(report, "MISSING  program: SKEIN: found '/nowhere/skein'"));
    EXPECT_TRUE(says(report, "MISSING  SLURM: no PMIx"));
    EXPECT_TRUE(says(report, "bad      file system: cannot write in "));
}

TEST_F(Doctor, WithoutPmixPointsToTheScriptThatDoesWithout) {
    fake("srun", "echo 'MPI plugin types are...'; echo none");
    const Outcome report = run("doctor", {"--out", folder_ / "run"});
    EXPECT_EQ(report.code, 0) << report.out;
    EXPECT_TRUE(says(report, "warn     SLURM: no PMIx (srun --mpi=list): use launch/skein-mpirun.sbatch"));
}

TEST_F(Doctor, SaysThatRanksDoNotStart) {
    fake("mpirun", "echo 'the daemon is not there'; exit 1");
    const Outcome report = run("doctor", {"--out", folder_ / "run"});
    EXPECT_EQ(report.code, 1);
    EXPECT_TRUE(says(report, "bad      MPI: two ranks of skein do not start: the daemon is not there"));
}

TEST_F(Doctor, TellsAFileSystemWithoutRenameOrFsync) {
    fake("sync", "exit 1");
    EXPECT_TRUE(says(run("doctor", {"--out", folder_ / "run"}), "bad      file system: "));
    std::filesystem::remove(folder_ / "bin/sync");
    fake("mv", "exit 1");
    const Outcome report = run("doctor", {"--out", folder_ / "run"});
    EXPECT_TRUE(says(report, "bad      file system: "));
    EXPECT_EQ(report.code, 1);
}

TEST_F(Doctor, LooksAtTheNodeOfAJobFromWhereItIs) {
    fake("srun", "case \"$*\" in *date*) echo 100.5 ;; *) echo \"a: ok $SLURM_OVERLAP $*\" ;; esac");
    const Environment job = {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_NUM_NODES", "1"}};
    EXPECT_TRUE(says(run("doctor", {}, job), "a: ok 1 --nodes=1 --ntasks=1 "));
    fake("srun", "echo 'MPI plugin types are...'; echo pmix");
    const Outcome alone = run("doctor", {"--one-node", "--out", folder_ / "run"}, job);
    EXPECT_NE(alone.out.find(": ok       program: "), std::string::npos) << alone.out;
}

TEST_F(Doctor, ComparesTheClocksOfHosts) {
    // the hosts' own reports, then their clocks
    fake("mpirun", "case \"$*\" in *date*) echo 100.5; echo \"$CLOCK\" ;; *) echo 'a: ok all' ;; esac");
    const Outcome close = run("doctor", {"-H", "a,b"}, {{"CLOCK", "101.25"}});
    EXPECT_EQ(close.code, 0) << close.out << close.errors;
    EXPECT_TRUE(says(close, "a: ok all"));
    EXPECT_TRUE(says(close, "ok       clock: 2 hosts differ by 0.75 s"));
    const Outcome apart = run("doctor", {"-H", "a,b"}, {{"CLOCK", "97.5"}});
    EXPECT_EQ(apart.code, 1);
    EXPECT_TRUE(says(apart, "bad      clock: 2 hosts differ by 3.00 s"));
}

}  // namespace
}  // namespace skein
