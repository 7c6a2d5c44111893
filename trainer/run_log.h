#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "trainer/evaluation.h"
#include "trainer/json_lines.h"
#include "trainer/parameter_digest.h"
#include "trainer/training_step.h"

namespace skein {

/// OUT/log.jsonl: one JSON object a line for each step and each evaluation. OUT/hashes.jsonl: one for each
/// step after which the parameters were hashed, with every tensor's digest. Rank 0 only.
class RunLog {
  public:
    /// Opens both for appending, as JsonLines does.
    RunLog(const std::string& folder, std::int64_t step, std::function<void(const std::string&)> warn);

    /// `utilisation`: model FLOPs a second over the devices' peak, where that is known. `parameters`:
    /// digest_of_all; empty where it was not asked for.
    void step(std::int64_t step, const StepOutcome& outcome, double seconds,
              std::optional<double> utilisation = std::nullopt, const std::string& parameters = "");
    void evaluation(std::int64_t step, const Evaluation& evaluation);
    /// A line of hashes.jsonl.
    void hashes(std::int64_t step, const ParameterList& parameters, const ParameterDigests& digests);

  private:
    JsonLines log_, hashes_;
};

/// Appends one line to OUT/runs.jsonl: what a start of the run was, or how it ended, by name and value. A
/// line that was torn there stays alone. Throws IoError.
void append_run_line(const std::string& folder, const std::string& json_object);

}  // namespace skein
