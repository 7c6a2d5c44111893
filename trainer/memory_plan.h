#pragma once

#include <cstddef>
#include <string>

#include "model/tensor/device.h"
#include "trainer/training_data.h"

namespace skein {

/// The bytes that a rank of a run needs, by what they are for.
struct MemoryPlan {
    std::size_t parameters = 0;   ///< with the copies that forward reads
    std::size_t gradients = 0;    ///< with those of the lanes that wait for others
    std::size_t optimizer = 0;    ///< moments and master copies
    std::size_t activations = 0;  ///< the most that forward and backward hold, evaluation's among them
    std::size_t buffers = 0;      ///< of messages; on a GPU with what its blocks are rounded up by
    std::size_t saving = 0;       ///< on the CPU, with --checkpoint.background: what a rank writes
    std::size_t program = 0;      ///< on the CPU: what the process had before
    std::size_t total() const {
        return parameters + gradients + optimizer + activations + buffers + saving + program;
    }
};

/// What a run is planned for.
struct PlanPlace {
    int ranks = 1;  ///< in all
    Device device = Device::cpu;
    /// Gradients go from GPU to GPU, not through the host's memory.
    bool queued = false;
    std::size_t program = 0;  ///< see MemoryPlan
};

/// A run as it is planned: what it does is done on a stream that computes nothing (PlanOnly), so that the
/// figure follows whatever it does. The model and its step are made, the step is made for blank batches, and
/// so are passes of evaluation. Not seen: what kernels take beside their operands, but for matrix products on
/// the CPU; on a GPU what CUDA and NCCL keep for themselves.
class PlannedRun {
  public:
    /// `config` is an effective one whose model fits the data; no validation data: null. The data must
    /// outlive this. Throws ConfigError.
    PlannedRun(const RunConfig& config, const PlanPlace& place, const TrainingData& training,
               const ValidationData* validation = nullptr);

    /// Of the rank that needs the most.
    const MemoryPlan& plan() const { return plan_; }
    /// Throws ConfigError when that is more than `limit` bytes, with the options that help. `whose` says what
    /// the limit is: "--device-memory".
    void check_fits(std::size_t limit, const std::string& whose) const;

  private:
    MemoryPlan plan_for(const RunConfig& config) const;
    MemoryPlan plan_rank(const RunConfig& config, int rank, int ranks) const;

    RunConfig config_;
    PlanPlace place_;
    const TrainingData& training_;
    const ValidationData* validation_;
    MemoryPlan plan_;
};

/// "2.31 GiB"
std::string size_text(std::size_t bytes);
/// "a rank needs 2.31 GiB of memory: parameters 474.70 MiB, ..."
std::string plan_line(const MemoryPlan& plan);

/// Bytes of memory that this process has in use now (Linux's VmRSS), and the most that it ever had (VmHWM); 0
/// where that cannot be told.
std::size_t resident_bytes();
std::size_t peak_resident_bytes();

}  // namespace skein
