#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trainer/clock.h"

namespace skein {

/// Says when a run has to stop so that it is saved before its time is over. What is kept free before the end
/// is a margin of
///   twice the longest of the last hundred steps or more,
///   the longest evaluation so far, as one may be due at the step where the run stops, and
///   twice the longest save so far; before the first save a quarter of the limit, at most a minute; in any
///   case a twentieth of the limit, at most ten seconds.
/// A run makes one step at least, however short the limit. Rank 0 alone has one.
class TimeLimit {
  public:
    /// Seconds by a steady clock, from anywhere; replaced in tests.
    using Clock = std::function<double()>;
    explicit TimeLimit(Clock clock = steady_seconds);

    /// The run is to be over `left` seconds from now, of `whole` that it had at its start; `what` is the
    /// subject of reason(): "4h of --train.time-limit are". Of several limits the first one reached counts.
    void add(double left, double whole, std::string what);

    void step_took(double seconds);
    void evaluation_took(double seconds);
    void save_took(double seconds);

    /// Whether the next step had better be the last one.
    bool is_nearly_over() const { return limit_reached() != nullptr; }
    /// "4h of --train.time-limit are nearly over"; empty while nothing is.
    std::string reason() const;

  private:
    struct Limit {
        double end, whole;
        std::string what;
    };
    const Limit* limit_reached() const;
    double margin(const Limit& limit) const;

    Clock clock_;
    std::vector<Limit> limits_;
    std::int64_t steps_ = 0;
    double longest_step_ = 0.0, longest_before_ = 0.0;  // of this hundred, and of the one before it
    double longest_evaluation_ = 0.0, longest_save_ = 0.0;
};

/// The limits of a run that this process is in: `limit` seconds (0: none) from the start of the process, and
/// the end of the SLURM job, where there is one that says when it ends.
TimeLimit time_limit_of_this_process(std::int64_t limit);

}  // namespace skein
