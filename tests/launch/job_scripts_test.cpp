// The SLURM scripts among programs that only pretend: what they start, and what an exit code makes them do.
// tests/launch/slurm_test runs them for real.

#include <tuple>

#include "tests/launch/scripts.h"

namespace skein {
namespace {

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

}  // namespace
}  // namespace skein
