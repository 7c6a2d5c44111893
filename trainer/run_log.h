#pragma once

#include <cstdint>
#include <ctime>
#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include "trainer/evaluation.h"
#include "trainer/training_step.h"

namespace skein {

/// OUT/log.jsonl: one JSON object a line for each step and each evaluation. Rank 0 only.
class RunLog {
  public:
    /// Opens OUT/log.jsonl for appending, after dropping the lines of steps after `step` (a resumed run
    /// writes them again) and what is no whole line. When it cannot be written, `warn` hears of it once and
    /// the run goes on.
    RunLog(const std::string& folder, std::int64_t step, std::function<void(const std::string&)> warn);

    /// `utilisation`: model FLOPs a second over the devices' peak, where that is known.
    void step(std::int64_t step, const StepOutcome& outcome, double seconds,
              std::optional<double> utilisation = std::nullopt);
    void evaluation(std::int64_t step, const Evaluation& evaluation);

  private:
    void write(const std::string& line);

    std::string path_;
    std::function<void(const std::string&)> warn_;
    std::ofstream out_;
    bool broken_ = false;
};

/// Appends one line to OUT/runs.jsonl: what a start of the run was, or how it ended, by name and value. A
/// line that was torn there stays alone. Throws IoError.
void append_run_line(const std::string& folder, const std::string& json_object);

/// "2026-11-21T20:15:00Z"
std::string utc_time(std::time_t seconds);

}  // namespace skein
