// What the doctor says of nodes on which programs are missing or only pretend.

#include "tests/launch/scripts.h"

namespace skein {
namespace {

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
