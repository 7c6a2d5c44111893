#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace skein {

/// What a run's wall time goes into.
enum class TimeUse {
    kRestarting,  ///< until the first step begins
    kProductive,  ///< steps
    kSaving,      ///< what saves hold up
    kEvaluating,
};
inline constexpr int kTimeUses = 4;

/// Where the wall time of one start of a run goes: all of it into one use or another.
class RunClock {
  public:
    /// `before`: seconds that went by since the process began, of restarting. `now` gives seconds on a clock
    /// that only goes forward; empty: the machine's steady clock.
    explicit RunClock(double before = 0.0, std::function<double()> now = {});

    /// What goes by from now on.
    void enter(TimeUse use);
    /// Seconds up to now.
    double seconds(TimeUse use) const;

    /// From its construction to its destruction, whatever it was before.
    class Scope {
      public:
        Scope(RunClock& clock, TimeUse use) : clock_(clock), before_(clock.use_) { clock_.enter(use); }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope() { clock_.enter(before_); }

      private:
        RunClock& clock_;
        TimeUse before_;
    };

  private:
    std::function<double()> now_;
    std::array<double, kTimeUses> seconds_{};
    TimeUse use_ = TimeUse::kRestarting;
    double since_;
};

/// How a start of the run ended, for its line in OUT/runs.jsonl.
struct RunEnd {
    std::string how;  ///< "finished", "stopped", "failed"
    std::uint64_t step = 0;
    std::string error;  ///< of a failure: its line and the exit code
    int code = 0;
};
/// The line: {"event":"end", "end": when, "how", "step", "seconds": {use: seconds}, "useful": the share of
/// productive seconds}.
std::string end_line(const RunEnd& end, const RunClock& clock);

/// When the run in a folder last gave a sign of life, in seconds since 1970: its log and its lock. To be
/// asked before another start touches them.
double last_sign_of_life(const std::string& folder);

/// For a start that goes on from `step`, before it cuts log.jsonl. Where the start before it has no end in
/// OUT/runs.jsonl, as it was killed, writes one, "died" at `sign_of_life`: productive are the seconds of the
/// steps that are kept, lost those of the steps after them, as far as log.jsonl has them. Gives the seconds
/// of steps that this start throws away of starts whose end is there, for its own line. Throws IoError.
double settle_run_accounts(const std::string& folder, std::uint64_t step, double sign_of_life);

/// Of all starts of a run that have ended, in seconds.
struct RunTotals {
    int starts = 0;  ///< the one that runs now among them
    double restarting = 0.0, productive = 0.0, lost = 0.0, saving = 0.0, evaluating = 0.0;
    double other = 0.0;  ///< of starts that died: what is not known
    /// The share of the productive ones; none before a start has ended.
    std::optional<double> useful() const;
};
/// Of OUT/runs.jsonl; none where there is no such file.
std::optional<RunTotals> read_run_totals(const std::string& folder);

}  // namespace skein
