// A library for LD_PRELOAD: sends the program that loads it a signal at a chosen one of its own calls, so
// that the moment is the program's and not a clock's. SIGNAL_AT="SIGNAL CALL DELAY PATTERN" in the
// environment: before the CALL-th of the calls write, fsync and rename on a file whose path matches PATTERN
// (fnmatch; of a rename, the old name). With a DELAY, in microseconds, the signal comes that much later, but
// at the latest before the second such call from there on.

#include <dlfcn.h>
#include <fnmatch.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

struct Plan {
    int signal = 0;
    long call = 0, delay = 0;
    char pattern[256] = "";
};

Plan plan_of_environment() {
    Plan plan;
    const char* text = std::getenv("SIGNAL_AT");
    if (text &&
        std::sscanf(text, "%d %ld %ld %255s", &plan.signal, &plan.call, &plan.delay, plan.pattern) != 4)
        std::abort();
    return plan;
}

void send_later(int number, long microseconds) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = number;
    timer_t timer{};
    itimerspec when{};
    when.it_value.tv_sec = microseconds / 1'000'000;
    when.it_value.tv_nsec = microseconds % 1'000'000 * 1000;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &when, nullptr) != 0)
        std::abort();
}

void before_call_on(const char* path) {
    static const Plan plan = plan_of_environment();
    static std::atomic<long> calls = 0;
    if (plan.signal == 0 || fnmatch(plan.pattern, path, 0) != 0) return;
    const long call = ++calls;
    if (call == plan.call && plan.delay > 0)
        send_later(plan.signal, plan.delay);
    else if (call == plan.call || (plan.delay > 0 && call == plan.call + 2))
        kill(getpid(), plan.signal);
}

void before_call_on(int descriptor) {
    char link[64], path[4096];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = '\0';
    before_call_on(path);
}

/// The function of that name which this one stands before.
template <class Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" ssize_t write(int descriptor, const void* bytes, std::size_t count) {
    before_call_on(descriptor);
    static auto* const real = next<ssize_t(int, const void*, std::size_t)>("write");
    return real(descriptor, bytes, count);
}

extern "C" int fsync(int descriptor) {
    before_call_on(descriptor);
    static auto* const real = next<int(int)>("fsync");
    return real(descriptor);
}

extern "C" int rename(const char* from, const char* to) noexcept {
    before_call_on(from);
    static auto* const real = next<int(const char*, const char*)>("rename");
    return real(from, to);
}
