#include "checkpoint/run_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include "model/base/error.h"
#include "model/base/files.h"
#include "model/base/handle.h"

namespace skein {
namespace {

constexpr const char* kFirstLine = "skein run lock 1";
constexpr int kCounterDigits = 20;

std::string first_line_of(const std::string& path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

/// Start time of a process of this machine in clock ticks since boot; nothing when there is none, or only its
/// zombie.
std::optional<std::uint64_t> start_of(std::int64_t pid) {
    const std::string stat = first_line_of(text("/proc/", pid, "/stat"));
    const std::size_t name_end = stat.rfind(')');  // the name may hold anything
    if (name_end == std::string::npos) return std::nullopt;
    std::istringstream fields(stat.substr(name_end + 1));
    std::string state, skipped;
    fields >> state;
    if (state == "Z" || state == "X") return std::nullopt;
    for (int field = 4; field < 22; ++field) fields >> skipped;
    std::uint64_t start = 0;
    if (!(fields >> start)) return std::nullopt;
    return start;
}

std::string one_line(std::string value) {
    std::replace(value.begin(), value.end(), '\n', ' ');
    return value;
}

/// Everything but the counter's digits, which come last.
std::string head_of(const LockOwner& owner) {
    return text(kFirstLine, "\nhost ", one_line(owner.host), "\nboot ", one_line(owner.boot_id), "\npid ",
                owner.pid, "\nstarted ", owner.started, "\njob ", one_line(owner.job), "\nrestarts ",
                owner.restarts, "\ncounter ");
}

std::string counter_text(std::uint64_t counter) {
    char digits[kCounterDigits + 2];
    std::snprintf(digits, sizeof digits, "%0*llu\n", kCounterDigits,
                  static_cast<unsigned long long>(counter));
    return digits;
}

/// Nothing when it is not the text of a lock: perhaps it is being written just now.
std::optional<LockOwner> parse_owner(const std::string& contents) {
    std::istringstream in(contents);
    std::string line;
    if (!std::getline(in, line) || line != kFirstLine) return std::nullopt;
    LockOwner owner;
    int fields = 0;
    while (std::getline(in, line)) {
        const std::size_t space = line.find(' ');
        if (space == std::string::npos) return std::nullopt;
        const std::string key = line.substr(0, space), value = line.substr(space + 1);
        ++fields;
        if (key == "host") owner.host = value;
        if (key == "boot") owner.boot_id = value;
        if (key == "pid") owner.pid = std::atoll(value.c_str());
        if (key == "started") owner.started = std::strtoull(value.c_str(), nullptr, 10);
        if (key == "job") owner.job = value;
        if (key == "restarts") owner.restarts = std::strtoull(value.c_str(), nullptr, 10);
    }
    if (fields != 7) return std::nullopt;
    return owner;
}

std::string describe(const std::optional<LockOwner>& owner) {
    if (!owner) return "an unknown process";
    std::string out = text("process ", owner->pid, " on ", owner->host);
    if (!owner->job.empty()) out += text(" (SLURM job ", owner->job, ")");
    return out;
}

enum class Verdict { kAlive, kDead, kUnknown };

/// Of this machine.
Verdict verdict_of_process(const LockOwner& owner) {
    if (const auto start = start_of(owner.pid))
        return *start == owner.started ? Verdict::kAlive : Verdict::kDead;
    // /proc may hide other users' processes (hidepid), of which kill says that they may not be signalled
    const bool is_hidden = ::kill(static_cast<pid_t>(owner.pid), 0) != 0 && errno == EPERM;
    return is_hidden ? Verdict::kUnknown : Verdict::kDead;
}

Verdict judge(const std::optional<LockOwner>& owner, const LockOwner& me) {
    if (!owner) return Verdict::kUnknown;
    if (!me.job.empty() && owner->job == me.job && me.restarts > owner->restarts) return Verdict::kDead;
    if (owner->host == me.host && owner->boot_id == me.boot_id) return verdict_of_process(*owner);
    return Verdict::kUnknown;
}

/// Nothing when it is gone.
std::optional<std::string> contents_of(const std::string& path) {
    try {
        return read_file(path);
    } catch (const MissingError&) {
        return std::nullopt;
    }
}

[[noreturn]] void refuse(const std::string& folder, const std::optional<LockOwner>& owner) {
    throw ConfigError(text("--out ", folder, ": ", describe(owner), " is writing there (", folder,
                           "/lock), wanted a folder that nobody else uses"));
}

/// Watches a lock that only its counter can tell about. True when it stood still for long enough, false when
/// it is gone or another one; throws when its owner moved it.
bool stood_still(const std::string& folder, const std::string& seen, const LockOptions& options) {
    const auto begin = options.now();
    const auto poll = std::clamp<std::chrono::milliseconds>(
        options.patience / 20, std::chrono::milliseconds(1), std::chrono::seconds(2));
    while (options.now() - begin < options.patience) {
        if (options.wait)
            options.wait(poll);
        else
            std::this_thread::sleep_for(poll);
        const auto contents = contents_of(folder + "/lock");
        if (!contents) return false;
        if (*contents != seen) refuse(folder, parse_owner(*contents));
    }
    return true;
}

struct DescriptorTraits {
    using Value = int;
    static int none() noexcept { return -1; }
    static void release(int descriptor) noexcept { ::close(descriptor); }
};

/// Takes away a lock that was judged dead when it said `seen`, unless it says something else by now.
/// Claimants go one by one where the folder can be flocked; elsewhere (NFS) the rename settles who does it,
/// one that took away a newer lock puts that back, and the newer lock's owner would learn from advance() if
/// that came too late.
void take_away(const std::string& folder, const std::string& seen, const LockOwner& me) {
    const std::string path = folder + "/lock", aside = text(path, ".dead.", one_line(me.host), ".", me.pid);
    const Handle<DescriptorTraits> turn(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (turn) static_cast<void>(::flock(turn.get(), LOCK_EX));
    if (contents_of(path) != seen) return;
    if (::rename(path.c_str(), aside.c_str()) != 0) {
        if (errno == ENOENT) return;  // another claimant was first
        throw_errno("take over", path);
    }
    const auto contents = contents_of(aside);
    const bool is_the_one = contents == seen;
    if (!is_the_one && ::link(aside.c_str(), path.c_str()) != 0 && errno != EEXIST) {
        if (::rename(aside.c_str(), path.c_str()) != 0) throw_errno("put back", path);
    }
    ::unlink(aside.c_str());
    if (!is_the_one) refuse(folder, contents ? parse_owner(*contents) : std::nullopt);
}

}  // namespace

LockOwner LockOwner::this_process() {
    LockOwner out;
    char host[256] = {};
    if (::gethostname(host, sizeof host - 1) == 0) out.host = host;
    out.boot_id = first_line_of("/proc/sys/kernel/random/boot_id");
    char name_space[64] = {};
    if (::readlink("/proc/self/ns/pid", name_space, sizeof name_space - 1) > 0)
        out.boot_id += text(" ", name_space);
    out.pid = ::getpid();
    out.started = start_of(out.pid).value_or(0);
    if (const char* job = std::getenv("SLURM_JOB_ID")) out.job = job;
    if (const char* restarts = std::getenv("SLURM_RESTART_COUNT"))
        out.restarts = std::strtoull(restarts, nullptr, 10);
    return out;
}

struct RunLock::State {
    std::string path;
    int descriptor = -1;
    struct stat identity {};
    off_t counter_at = 0;
    pid_t creator = ::getpid();
    std::atomic<bool> held{true};

    std::mutex mutex;  // guards the counter and `stopping`
    std::uint64_t counter = 0;
    bool stopping = false;
    std::condition_variable stop;
    std::thread heart;

    /// True when PATH is still the file that we made.
    bool is_ours() const {
        struct stat found {};
        if (::stat(path.c_str(), &found) == 0)
            return found.st_ino == identity.st_ino && found.st_dev == identity.st_dev;
        return errno != ENOENT;  // otherwise the file system does not answer now
    }

    bool advance() {
        const std::lock_guard guard(mutex);
        if (!is_ours()) held = false;
        if (!held) return false;
        const std::string digits = counter_text(++counter);
        // A write that fails makes us look dead later, and then the next call notices.
        if (::pwrite(descriptor, digits.data(), digits.size(), counter_at) > 0) ::fsync(descriptor);
        return true;
    }

    void beat(std::chrono::milliseconds interval) {
        std::unique_lock lock(mutex);
        while (!stop.wait_for(lock, interval, [&] { return stopping; })) {
            lock.unlock();
            advance();
            lock.lock();
        }
    }

    ~State() {
        if (::getpid() != creator) {  // a forked child: neither the thread nor the lock is its own
            if (heart.joinable()) heart.detach();
            ::close(descriptor);
            return;
        }
        if (heart.joinable()) {
            {
                const std::lock_guard guard(mutex);
                stopping = true;
            }
            stop.notify_all();
            heart.join();
        }
        if (descriptor >= 0) {
            if (is_ours()) ::unlink(path.c_str());
            ::close(descriptor);
        }
    }
};

RunLock::RunLock(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunLock::RunLock(RunLock&&) noexcept = default;
RunLock& RunLock::operator=(RunLock&&) noexcept = default;
RunLock::~RunLock() = default;

RunLock RunLock::acquire(const std::string& folder, const LockOwner& me, LockOptions options) {
    const std::string path = folder + "/lock";
    auto state = std::make_unique<State>();
    state->path = path;
    while ((state->descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0) {
        if (errno != EEXIST) throw_errno("create", path);
        const auto seen = contents_of(path);
        if (!seen) continue;  // released just now
        const auto owner = parse_owner(*seen);
        const Verdict verdict = judge(owner, me);
        if (verdict == Verdict::kAlive) refuse(folder, owner);
        if (verdict == Verdict::kUnknown) {
            if (options.notice)
                options.notice(text(path, " was left by ", describe(owner), ": waiting up to ",
                                    options.patience.count() / 1000, " s to see whether it lives"));
            if (!stood_still(folder, *seen, options)) continue;
        }
        if (options.notice)
            options.notice(text(path, ": ", describe(owner), " is gone, its lock is taken over"));
        take_away(folder, *seen, me);
    }

    if (::fstat(state->descriptor, &state->identity) != 0) throw_errno("stat", path);
    const std::string head = head_of(me), all = head + counter_text(0);
    state->counter_at = static_cast<off_t>(head.size());
    if (::pwrite(state->descriptor, all.data(), all.size(), 0) != static_cast<ssize_t>(all.size()) ||
        ::fsync(state->descriptor) != 0)
        throw_errno("write", path);
    if (options.heartbeat.count() > 0) {
        // Signals are for the main thread.
        sigset_t every, before;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &before);
        state->heart =
            std::thread([raw = state.get(), interval = options.heartbeat] { raw->beat(interval); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    return RunLock(std::move(state));
}

bool RunLock::advance() {
    return state_->advance();
}
bool RunLock::held() const {
    return state_->held;
}

}  // namespace skein
