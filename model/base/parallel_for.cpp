#include "model/base/parallel_for.h"

#include <sched.h>
#include <signal.h>

#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace skein {
namespace {

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Returns when `value` is no longer `old`; asleep after some tens of microseconds.
template <class T>
void await_change(const std::atomic<T>& value, T old) {
    for (int spin = 0; spin < 2000; ++spin) {
        if (value.load(std::memory_order_acquire) != old) return;
        relax();
    }
    value.wait(old, std::memory_order_acquire);
}

thread_local bool inside_team = false;

// Threads 1 ... size of one calling thread. Every member takes part in every round, if only to say that it
// saw it, so no round begins before all have left the one before.
class Team {
  public:
    explicit Team(int size) {
        sigset_t all, before;  // signals are the main thread's
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (int thread = 1; thread <= size; ++thread)
            threads_.emplace_back([this, thread] { work(thread); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    ~Team() {
        run(0, nullptr, nullptr);
        for (std::thread& thread : threads_) thread.join();
    }
    int size() const { return static_cast<int>(threads_.size()); }

    // `body` null: the end.
    void run(int threads, void (*body)(const void*, int), const void* context) {
        body_ = body;
        context_ = context;
        taking_part_ = threads;
        busy_.store(size(), std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
        if (!body) return;
        inside_team = true;
        take_part(0);
        inside_team = false;
        for (int busy; (busy = busy_.load(std::memory_order_acquire)) > 0;) await_change(busy_, busy);
        if (failed_.exchange(false, std::memory_order_relaxed))
            std::rethrow_exception(std::exchange(error_, nullptr));
    }

  private:
    // The first error of a round is its caller's.
    void take_part(int thread) noexcept {
        try {
            body_(context_, thread);
        } catch (...) {
            if (!failed_.exchange(true, std::memory_order_acq_rel)) error_ = std::current_exception();
        }
    }

    void work(int thread) {
        inside_team = true;
        for (std::uint32_t seen = 0;; ++seen) {
            await_change(round_, seen);
            if (!body_) return;
            if (thread < taking_part_) take_part(thread);
            if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
        }
    }

    void (*body_)(const void*, int) = nullptr;
    const void* context_ = nullptr;
    int taking_part_ = 0;
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
    alignas(64) std::atomic<std::uint32_t> round_{0};
    alignas(64) std::atomic<int> busy_{0};
    std::vector<std::thread> threads_;
};

}  // namespace

void detail::run_on_team(int threads, void (*body)(const void* context, int thread), const void* context) {
    if (inside_team) {
        for (int thread = 0; thread < threads; ++thread) body(context, thread);
        return;
    }
    thread_local std::unique_ptr<Team> team;
    if (!team || team->size() < threads - 1) {
        team.reset();
        team = std::make_unique<Team>(threads - 1);
    }
    team->run(threads, body, context);
}

int bound_processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace skein
