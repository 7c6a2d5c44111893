#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/program.h"

namespace skein {

using Environment = std::vector<std::pair<std::string, std::string>>;

inline const std::string kLaunch = SKEIN_LAUNCH_FOLDER;

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

}  // namespace skein
