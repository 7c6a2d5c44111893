#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "model/base/error.h"

namespace skein {

/// How long the ranks wait for one another, and what this one is at: for the errors of those that waited in
/// vain. A session has one, which all its communicators hold. Only the thread that calls MPI uses it.
class Patience {
  public:
    /// `--parallel.timeout`.
    double seconds = 600.0;

    /// Whether somebody asked this process to end, as a launcher does before it kills it; null: nobody will.
    bool (*asked_to_end)() = nullptr;
    /// Takes one line, once, of a rank that was asked to end and waits for another meanwhile. It changes
    /// nothing: if the other comes, the wait goes on to its end.
    std::function<void(const std::string&)> remark;

    /// `what` lives for ever; with a step the phase is both: ("step", 12) is "step 12".
    void set_phase(const char* what, std::int64_t step = -1) {
        what_ = what;
        step_ = step;
    }
    std::string phase() const { return step_ < 0 ? what_ : text(what_, " ", step_); }

    /// While it lives no wait is too long: one rank may take as long as its disk does.
    class Exemption {
      public:
        explicit Exemption(Patience& patience) : patience_(patience) { ++patience_.exemptions_; }
        Exemption(const Exemption&) = delete;
        Exemption& operator=(const Exemption&) = delete;
        ~Exemption() { --patience_.exemptions_; }

      private:
        Patience& patience_;
    };
    bool is_exempt() const { return exemptions_ > 0; }

  private:
    const char* what_ = "start";
    std::int64_t step_ = -1;
    int exemptions_ = 0;
};

/// How long an operation has been waited for: the time in which this rank looked after it, from its first
/// look on. What lies between two looks counts up to a tenth of the patience, at most a second: a rank that
/// computed meanwhile, or was itself stopped (a suspended job), does not hold that against the others. Time
/// under an exemption does not count, and what was before it neither.
class WaitClock {
  public:
    using Time = std::chrono::steady_clock::time_point;

    void look(Time now, const Patience& patience) {
        if (patience.is_exempt())
            waited_ = 0.0;
        else if (last_ != Time{})
            waited_ +=
                std::min({std::chrono::duration<double>(now - last_).count(), 0.1 * patience.seconds, 1.0});
        last_ = now;
    }
    bool is_over(const Patience& patience) const { return waited_ > patience.seconds; }

  private:
    Time last_{};
    double waited_ = 0.0;
};

/// How long an operation has been waited for since this process was asked to end. What lies between two looks
/// counts up to 50 ms, so that a rank which computes meanwhile is not taken for one that waits.
class EndWait {
  public:
    /// A launcher leaves a second between asking and killing.
    static constexpr double kSeconds = 0.25;

    void look(WaitClock::Time now, const Patience& patience) {
        if (!patience.asked_to_end || !patience.asked_to_end()) return;
        if (last_ != WaitClock::Time{})
            waited_ += std::min(std::chrono::duration<double>(now - last_).count(), 0.05);
        last_ = now;
    }
    bool is_over() const { return waited_ > kSeconds; }

  private:
    WaitClock::Time last_{};
    double waited_ = 0.0;
};

}  // namespace skein
