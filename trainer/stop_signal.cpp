#include "trainer/stop_signal.h"

#include <unistd.h>

#include <csignal>

namespace skein {
namespace {

constexpr int kSignals[] = {SIGUSR1, SIGTERM, SIGINT};

// A signal handler can reach nothing but a global; it is hidden here.
volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t termination_requested = 0;
int living = 0;  // StopSignals, of the one thread that makes them

extern "C" void on_stop_signal(int signal) {
    if (signal == SIGINT && stop_requested) _exit(128 + SIGINT);
    stop_requested = 1;
    if (signal == SIGTERM) termination_requested = 1;
}

}  // namespace

StopSignal::StopSignal() {
    if (living++ > 0) return;
    stop_requested = 0;
    termination_requested = 0;
    struct sigaction action = {};
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

StopSignal::~StopSignal() {
    if (--living > 0) return;
    for (const int signal : kSignals) std::signal(signal, SIG_DFL);
}

bool StopSignal::requested() {
    return stop_requested != 0;
}

bool StopSignal::terminated() {
    return termination_requested != 0;
}

}  // namespace skein
