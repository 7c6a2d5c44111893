#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace skein {

inline std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

inline std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

/// Looks every millisecond until `condition` holds; false when it still does not after `seconds`, which
/// bounds a hang and is no part of what is tested.
inline bool becomes_true(const std::function<bool()>& condition, double seconds = 60.0) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

/// Words of a command line; none of them may hold a blank.
inline std::vector<std::string> words(const std::string& line) {
    std::istringstream in(line);
    return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

inline std::vector<std::string> operator+(std::vector<std::string> one,
                                          const std::vector<std::string>& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
}

/// The program that a variable of the environment names, where the one that was built is not there.
inline std::string test_program(const char* variable, const char* built) {
    const char* named = std::getenv(variable);
    return named ? named : built;
}

/// What a program that has ended left behind.
struct Outcome {
    int code = -1;  ///< -1: it was killed by a signal, or had to be
    std::string out, errors;

    /// Lines of stderr without mpirun's own help, which stands between dashes.
    std::vector<std::string> own_lines() const {
        std::vector<std::string> own;
        bool is_help = false;
        for (const std::string& line : lines_of(errors)) {
            if (line.starts_with("-----"))
                is_help = !is_help;
            else if (!is_help && !line.empty() && line[0] != '[')
                own.push_back(line);
        }
        return own;
    }
};

/// What /proc says about a process: R, S, D, T (stopped), Z (a zombie), X; '-' when there is none.
inline char state_of(pid_t pid) {
    const std::string stat = contents("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t name_end = stat.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= stat.size() ? '-' : stat[name_end + 2];
}

/// Any command, of which SKEIN_TEST_PIDS names the file that its ranks write their process's number to.
struct ShellCommand {
    std::vector<std::string> words;
    std::vector<std::pair<std::string, std::string>> environment = {};  ///< beside the test's own
};

/// `skein ARGUMENTS` in the background, on one rank without a launcher or on several under mpirun, or another
/// command that starts ranks. What is still running at the end of its life is killed, every rank of it.
class RunningProgram {
  public:
    RunningProgram(const ShellCommand& command, int ranks) : ranks_(ranks) {
        start(command.words, command.environment);
    }

    /// `before`: shell commands that each rank runs first.
    explicit RunningProgram(const std::vector<std::string>& arguments, int ranks = 1,
                            const std::string& before = "")
        : ranks_(ranks) {
        std::vector<std::string> all;
        if (ranks > 1)
            all = {test_program("SKEIN_TEST_MPIEXEC", SKEIN_MPIEXEC),
                   "--oversubscribe",
                   "--bind-to",
                   "none",
                   "-np",
                   std::to_string(ranks)};
        // each rank says which process it is, so that all of them can be killed for sure
        all = all +
              std::vector<std::string>{"/bin/sh", "-c", "echo $$ >> \"$0\"; " + before + " exec \"$@\"",
                                       folder_ / "pids", test_program("SKEIN_TEST_PROGRAM", SKEIN_PROGRAM)} +
              arguments;
        start(all, {});
    }
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;
    ~RunningProgram() { kill_all(); }

    /// Whether it has not ended by itself.
    bool runs() {
        if (ended_) return false;
        if (waitpid(launcher_, &status_, WNOHANG) == launcher_) ended_ = true;
        return !ended_;
    }

    /// To mpirun, which forwards it, or to the only rank.
    void signal(int number) {
        if (!ended_) ::kill(launcher_, number);
    }

    /// Whether all ranks have started and one is gone.
    bool lost_a_rank() const {
        const std::vector<pid_t> ranks = rank_pids();
        return static_cast<int>(ranks.size()) == ranks_ && !std::ranges::all_of(ranks, is_alive);
    }

    /// SIGKILL to every rank and to mpirun; returns when all are gone. True when it was still running.
    bool kill_all() {
        if (runs())
            becomes_true([&] { return static_cast<int>(rank_pids().size()) >= ranks_ || !runs(); }, 20);
        const bool was_running = !ended_;
        if (was_running) {
            for (const pid_t rank : rank_pids())
                if (is_alive(rank)) ::kill(rank, SIGKILL);
            ::kill(launcher_, SIGKILL);
            waitpid(launcher_, &status_, 0);
            ended_ = true;
        }
        EXPECT_TRUE(becomes_true([&] { return std::ranges::none_of(rank_pids(), is_alive); }, 20));
        return was_running;
    }

    /// Waits for its end; after `seconds` it counts as hanging: the test fails, and it is killed.
    Outcome wait(double seconds = 60.0) {
        const bool in_time = becomes_true([&] { return !runs(); }, seconds);
        EXPECT_TRUE(in_time) << "hangs: " << contents(folder_ / "errors");
        if (!in_time) kill_all();
        return {in_time && WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, contents(folder_ / "out"),
                contents(folder_ / "errors")};
    }

    /// The process that is rank `rank`; 0: none.
    pid_t rank_pid(int rank) const {
        const std::string wanted = '\0' + ("OMPI_COMM_WORLD_RANK=" + std::to_string(rank)) + '\0';
        for (const pid_t pid : rank_pids())
            if (('\0' + contents("/proc/" + std::to_string(pid) + "/environ")).find(wanted) !=
                std::string::npos)
                return pid;
        return 0;
    }

    std::string errors() const { return contents(folder_ / "errors"); }

    /// Of the ranks that have started, in no order.
    std::vector<pid_t> rank_pids() const {
        std::vector<pid_t> out;
        for (const std::string& line : lines_of(contents(folder_ / "pids")))
            out.push_back(std::atoi(line.c_str()));
        return out;
    }

  private:
    void start(std::vector<std::string> all,
               const std::vector<std::pair<std::string, std::string>>& environment) {
        std::vector<char*> argv;
        for (std::string& word : all) argv.push_back(word.data());
        argv.push_back(nullptr);
        const std::string out = folder_ / "out", errors = folder_ / "errors";
        launcher_ = fork();
        if (launcher_ != 0) return;
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (const char* name :
             {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_mpi_yield_when_idle"})
            setenv(name, "1", 1);
        setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
        setenv("OMP_WAIT_POLICY", "passive", 1);      // ranks and threads are more than the processors
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI loses some
        setenv("SKEIN_TEST_PIDS", (folder_ / "pids").c_str(), 1);
        for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
        dup2(open("/dev/null", O_RDONLY), 0);
        dup2(open(out.c_str(), O_WRONLY | O_CREAT, 0600), 1);
        dup2(open(errors.c_str(), O_WRONLY | O_CREAT, 0600), 2);
        execvp(argv[0], argv.data());
        _exit(127);
    }

    static bool is_alive(pid_t pid) { return std::string("ZX-").find(state_of(pid)) == std::string::npos; }

    TemporaryFolder folder_;
    int ranks_, status_ = 0;
    pid_t launcher_ = -1;
    bool ended_ = false;
};

/// Runs `skein ARGUMENTS` to its end.
inline Outcome run_skein(const std::vector<std::string>& arguments, int ranks = 1,
                         const std::string& before = "") {
    return RunningProgram(arguments, ranks, before).wait();
}

/// English-looking text of about `bytes` bytes, always the same: words with a skewed distribution.
inline std::string pseudo_text(std::size_t bytes) {
    std::string text;
    std::uint64_t state = 12345;
    const auto next = [&](std::uint64_t below) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        return (state >> 33) % below;
    };
    while (text.size() < bytes) {
        const std::uint64_t word = next(40) * next(40) / 40;
        for (std::uint64_t i = 0; i <= word % 3; ++i) {
            text += "bdfglmnprst"[(word * 7 + i * 3) % 11];
            text += "aeiou"[(word + i) % 5];
        }
        text += next(9) == 0 ? ".\n" : " ";
    }
    return text;
}

}  // namespace skein
