// skein-mpirun among programs that only pretend: what it starts, and what an exit code makes it do.
// stopping_test runs it for real.

#include "tests/launch/scripts.h"

namespace skein {
namespace {

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

}  // namespace
}  // namespace skein
