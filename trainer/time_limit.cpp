#include "trainer/time_limit.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "model/base/error.h"
#include "trainer/duration.h"
#include "trainer/slurm_job.h"

namespace skein {

namespace {

constexpr std::int64_t kRecentSteps = 100;

}  // namespace

TimeLimit::TimeLimit(Clock clock) : clock_(std::move(clock)) {}

void TimeLimit::add(double left, double whole, std::string what) {
    limits_.push_back({clock_() + left, whole, std::move(what)});
}

void TimeLimit::step_took(double seconds) {
    if (steps_++ % kRecentSteps == 0) longest_before_ = std::exchange(longest_step_, 0.0);
    longest_step_ = std::max(longest_step_, seconds);
}

void TimeLimit::evaluation_took(double seconds) {
    longest_evaluation_ = std::max(longest_evaluation_, seconds);
}

void TimeLimit::save_took(double seconds) {
    longest_save_ = std::max(longest_save_, seconds);
}

double TimeLimit::margin(const Limit& limit) const {
    const double save = longest_save_ > 0.0 ? 2.0 * longest_save_ : std::min(60.0, limit.whole / 4.0);
    return 2.0 * std::max(longest_step_, longest_before_) + longest_evaluation_ +
           std::max(save, std::min(10.0, limit.whole / 20.0));
}

const TimeLimit::Limit* TimeLimit::limit_reached() const {
    if (steps_ == 0) return nullptr;
    const double now = clock_();
    for (const Limit& limit : limits_)
        if (limit.end - now < margin(limit)) return &limit;
    return nullptr;
}

std::string TimeLimit::reason() const {
    const Limit* const limit = limit_reached();
    return limit ? text(limit->what, " nearly over") : "";
}

TimeLimit time_limit_of_this_process(std::int64_t limit) {
    TimeLimit all;
    if (limit > 0) {
        const auto whole = static_cast<double>(limit);
        all.add(whole - age_of_this_process(), whole,
                text(duration_text(limit), " of --train.time-limit are"));
    }
    if (const std::optional<double> left = seconds_left_of_slurm_job())
        all.add(*left, *left, "the SLURM job's time is");
    return all;
}

}  // namespace skein
