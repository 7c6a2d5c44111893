#pragma once

#include <cstdint>
#include <vector>

#include "data/sampler.h"
#include "model/nn/transformer.h"
#include "parallel/gradient_sync.h"
#include "trainer/config.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"

namespace skein {

/// What one step came to; the same on every rank but for the statistics.
struct StepOutcome {
    double loss = 0.0;           ///< label-smoothed cross-entropy, nats per real target token of the global batch
    double gradient_norm = 0.0;  ///< before clipping
    double learning_rate = 0.0;
    std::int64_t tokens = 0;     ///< real target tokens of the global batch
    bool skipped = false;        ///< loss or gradient was not finite: nothing was updated
    std::uint64_t flags = 0;     ///< the bitwise or of all ranks' flags
    GradientSyncStatistics sync;
};

/// One step of training: forward and backward over this rank's lanes, gradients summed along the lane tree, clipping by
/// the global norm, the optimizer's update. What it computes depends on the configuration, the parameters, the batch and
/// its number alone, not on ranks or threads.
class TrainingStep {
  public:
    /// `config` is an effective one (run_rules.h). All arguments must outlive it. Throws ConfigError.
    TrainingStep(const RunConfig& config, Transformer& model, Stream& stream, Communicator& data);

    /// This rank's samples of a global batch of train.batch: [begin, end).
    SampleRange own_samples() const;
    /// `mine` holds own_samples() of step number `step` (from 0); `update` counts from 1. `flags` are told to all ranks.
    /// Throws MpiError.
    StepOutcome run(const TokenBatch& mine, std::int64_t step, std::int64_t update, std::uint64_t flags);

    Optimizer& optimizer() { return optimizer_; }
    const GradientSync& sync() const { return sync_; }
    /// Rows of the largest pass: below some 512, kernels are not at their best.
    std::int64_t rows_of_a_pass() const;

  private:
    /// Per-sample sums of the loss, in fp64, of this rank's samples.
    void run_lane(int lane, const TokenBatch& mine, std::int64_t step, double gradient_scale, double* losses);
    /// Σ of all samples' losses in order of samples, and the or of all ranks' flags.
    double gather(std::vector<double>& losses, std::uint64_t& flags);

    RunConfig config_;
    Transformer& model_;
    Stream& stream_;
    Communicator& data_;
    GradientSync sync_;
    Optimizer optimizer_;
    Schedule schedule_;
};

}  // namespace skein
