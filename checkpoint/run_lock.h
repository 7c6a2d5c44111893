#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace skein {

/// Who holds a run's folder.
struct LockOwner {
    std::string host;
    std::string boot_id;  ///< of the kernel; and with it, the namespace that pids are counted in
    std::int64_t pid = 0;
    std::uint64_t started = 0;   ///< the process's start, in clock ticks since boot: pids come again
    std::string job;             ///< SLURM_JOB_ID; empty without SLURM
    std::uint64_t restarts = 0;  ///< SLURM_RESTART_COUNT

    static LockOwner this_process();
};

struct LockOptions {
    /// A lock whose counter does not move for so long, by this machine's own steady clock, is a dead owner's.
    /// Only waited for when neither host nor job tell.
    std::chrono::milliseconds patience = std::chrono::minutes(3);
    /// The owner's counter moves this often, on a thread of its own; zero: only by advance().
    std::chrono::milliseconds heartbeat = std::chrono::seconds(20);
    /// A steady clock, and how to wait; replaced in tests.
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
    std::function<void(std::chrono::milliseconds)> wait;  ///< empty: sleeps
    std::function<void(const std::string&)> notice =
        {};  ///< one line when a wait begins or a dead lock is taken over
};

/// OUT/lock: at most one writer on a run's folder. It names its owner and has a counter that the owner
/// advances. One that is there is dead when: host and boot are the owner's and that process is gone; the same
/// job comes with a higher restart count; else, when the counter stood still for `patience`. Removed on
/// destruction (a clean exit); what a killed process leaves is found dead by the next.
class RunLock {
  public:
    /// Creates FOLDER/lock (FOLDER is there), exclusively. May wait up to `patience`. Throws ConfigError that
    /// names the owner when it is alive, IoError when the file cannot be made.
    static RunLock acquire(const std::string& folder, const LockOwner& me, LockOptions options = {});

    RunLock(RunLock&&) noexcept;
    RunLock& operator=(RunLock&&) noexcept;
    ~RunLock();

    /// Moves the counter. False when the lock is no longer ours: this process was taken for dead and another
    /// one writes here now, so it must stop. From any thread.
    bool advance();
    /// What the last advance() found, the heartbeat's included.
    bool held() const;

  private:
    struct State;
    explicit RunLock(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace skein
