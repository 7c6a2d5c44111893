#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "parallel/gradient_sync.h"
#include "trainer/config.h"
#include "trainer/objective.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"

namespace skein {

/// What one step came to; the same on every rank but for the statistics.
struct StepOutcome {
    double loss = 0.0;  ///< label-smoothed cross-entropy, nats per real target token of the global batch
    double gradient_norm = 0.0;  ///< before clipping, without the loss scale
    double learning_rate = 0.0;
    std::int64_t tokens = 0;   ///< real target tokens of the global batch
    std::int64_t samples = 0;  ///< of the global batch: windows or pairs
    bool skipped = false;      ///< loss or gradient was not finite: nothing was updated
    bool overflow = false;     ///< skipped, and a smaller loss scale may help: of fp16, no sign of trouble
    std::optional<double> loss_scale;  ///< fp16: the one that the step was made with
    std::uint64_t flags = 0;           ///< the bitwise or of all ranks' flags
    GradientSyncStatistics sync;
};

/// One step of training: forward and backward over this rank's lanes, gradients summed along the lane tree,
/// clipping by the global norm, the optimizer's update. What it computes depends on the configuration, the
/// parameters, the loss scale, the batch and its number alone, not on ranks or threads.
class TrainingStep {
  public:
    /// `config` is an effective one (run_rules.h); gives the parameters the copies that its precision wants.
    /// All arguments must outlive it. Throws ConfigError.
    TrainingStep(const RunConfig& config, Objective& objective, Stream& stream, Communicator& data);

    /// This rank's samples of a global batch of `samples`.
    SampleRange own_samples(std::int64_t samples) const { return samples_of(sync_.own_lanes(), samples); }
    /// `batch` is that of step number `step` (from 0), with own_samples(); `update` counts from 1. `flags`
    /// are told to all ranks. Throws MpiError.
    StepOutcome run(const Batch& batch, std::int64_t step, std::int64_t update, std::uint64_t flags);

    /// Of the next step; 1 but for fp16.
    const LossScaleState& loss_scale() const { return loss_scale_; }
    void resume_loss_scale(const LossScaleState& saved) { loss_scale_ = saved; }

    Optimizer& optimizer() { return optimizer_; }
    const GradientSync& sync() const { return sync_; }
    /// Tokens of the largest pass, padding among them: below some 512, kernels are not at their best.
    std::int64_t tokens_of_a_pass() const;

  private:
    /// Per-sample sums of the loss, in fp64, of this rank's samples.
    void run_lane(int lane, const Batch& batch, std::int64_t step, double* losses);
    SampleRange samples_of(LaneRange lanes, std::int64_t samples) const;
    /// Σ of all samples' losses in order of samples, and the or of all ranks' flags.
    double gather(std::int64_t samples, std::vector<double>& losses, std::uint64_t& flags);

    RunConfig config_;
    Objective& objective_;
    Stream& stream_;
    Communicator& data_;
    GradientSync sync_;
    Optimizer optimizer_;
    Schedule schedule_;
    LossScaleState loss_scale_;
};

}  // namespace skein
