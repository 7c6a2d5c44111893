#include "trainer/slurm_job.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "trainer/duration.h"
#include "trainer/option_values.h"

namespace skein {

namespace {

/// What a program of the search path writes to stdout; nothing when it is not there, fails, or takes longer
/// than `patience` seconds, and then it is killed.
std::optional<std::string> output_of(std::vector<std::string> words, double patience) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t process = 0;
    const int error = posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    std::string output;
    bool ended = false;
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
    while (error == 0 && !ended) {
        const std::chrono::duration<double> left = until - std::chrono::steady_clock::now();
        if (left.count() <= 0.0) break;
        pollfd descriptor{ends[0], POLLIN, 0};
        const int ready = poll(&descriptor, 1, static_cast<int>(1000.0 * left.count()) + 1);
        if (ready < 0 && errno != EINTR) break;
        if (ready <= 0) continue;
        char buffer[256];
        const ssize_t bytes = read(ends[0], buffer, sizeof buffer);
        if (bytes < 0 && errno == EINTR) continue;
        ended = bytes <= 0;
        if (bytes > 0) output.append(buffer, static_cast<std::size_t>(bytes));
    }
    close(ends[0]);
    if (error != 0) return std::nullopt;
    if (!ended) kill(process, SIGKILL);
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return ended && status == 0 ? std::optional(output) : std::nullopt;
}

}  // namespace

std::optional<double> seconds_left_of_slurm_job(double patience) {
    const char* const job = std::getenv("SLURM_JOB_ID");
    if (!job) return std::nullopt;
    if (const char* const end = std::getenv("SLURM_JOB_END_TIME")) {
        const std::optional<std::int64_t> unix_time = parse_integer(end);
        const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
        // an end that is over already is that of a job in whose environment a shell lives on
        const double left = unix_time ? static_cast<double>(*unix_time) - now.count() : 0.0;
        if (left > 0.0) return left;
        if (unix_time) return std::nullopt;
    }
    std::optional<std::string> answer = output_of({"squeue", "-h", "-j", job, "-o", "%L"}, patience);
    if (!answer) return std::nullopt;
    while (!answer->empty() && (answer->back() == '\n' || answer->back() == ' ')) answer->pop_back();
    const std::optional<std::int64_t> left = parse_duration(*answer);  // none of UNLIMITED, INVALID, NOT_SET
    return left ? std::optional(static_cast<double>(*left)) : std::nullopt;
}

}  // namespace skein
