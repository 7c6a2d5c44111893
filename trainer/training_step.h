#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "parallel/gradient_sync.h"
#include "trainer/config.h"
#include "trainer/objective.h"
#include "trainer/parameter_update.h"
#include "trainer/schedule.h"

namespace skein {

/// The ranks that take part in a step.
struct StepGroups {
    /// One group alone, of ranks that each have the whole model.
    StepGroups(Communicator& all) : data(all), world(all) {}  // NOLINT: meant to convert
    StepGroups(Communicator& data_group, Communicator* gradient_group, Communicator& all)
        : data(data_group), gradients(gradient_group), world(all) {}

    Communicator& data;  ///< those that have the same part of the model; moves the host's memory
    /// The same ranks, for the memory of the stream's GPU; null: gradients go through `data` as well.
    Communicator* gradients = nullptr;
    Communicator& world;  ///< all of the run
};

/// What one step came to; the same on every rank but for the statistics.
struct StepOutcome {
    double loss = 0.0;  ///< label-smoothed cross-entropy, nats per real target token of the global batch
    double gradient_norm = 0.0;  ///< before clipping, without the loss scale
    double learning_rate = 0.0;
    std::int64_t tokens = 0;   ///< real target tokens of the global batch
    std::int64_t samples = 0;  ///< of the global batch: windows or pairs
    bool skipped = false;      ///< loss or gradient was not finite: nothing was updated
    bool overflow = false;     ///< skipped, and a smaller loss scale may help: of fp16, no sign of trouble
    /// Of a skipped step: the ranks of the data group that have samples whose loss is not finite.
    std::vector<int> not_finite;
    std::optional<double> loss_scale;    ///< fp16: the one that the step was made with
    std::int64_t updates = 0;            ///< made so far, this one included
    LossScaleState next_loss_scale;      ///< of the next step; 1 but for fp16
    std::uint64_t flags = 0;             ///< the bitwise or of all ranks' flags
    std::int64_t tensor_bytes_sent = 0;  ///< by this rank to those that share the model with it
    GradientSyncStatistics sync;
};

/// One step of training: forward and backward over this rank's lanes, gradients summed along the lane tree,
/// clipping by the global norm, the optimizer's update. What it computes depends on the configuration, the
/// parameters, the loss scale, the batch and its number alone, not on ranks or threads.
///
/// A step is queued by start and told of by finish. Loss, norm, clip factor, learning rate and loss scale are
/// found in the device's memory, so that on a GPU the next step can be started before this one is done.
class TrainingStep {
  public:
    /// Steps that may be under way at once, that which is about to be started included.
    static constexpr std::size_t kMostUnderWay = kernels::kUpdatesAhead;

    /// `config` is an effective one (run_rules.h); gives the parameters the copies that its precision wants.
    /// All arguments must outlive it. Throws ConfigError.
    TrainingStep(const RunConfig& config, Objective& objective, Stream& stream, const StepGroups& groups);

    /// This rank's samples of a global batch of `samples`.
    SampleRange own_samples(std::int64_t samples) const { return samples_of(sync_.own_lanes(), samples); }

    /// `batch` is that of step number `step` (from 0), with own_samples(). `flags` are told to all ranks.
    /// Throws Error when kMostUnderWay steps are under way, and MpiError.
    void start(const Batch& batch, std::int64_t step, std::uint64_t flags);
    /// Waits for the oldest step that is under way. Throws Error when there is none, MpiError and CudaError.
    StepOutcome finish();
    std::size_t under_way() const { return under_way_.size(); }
    /// Drops the steps that are under way: on a stream that only plans, where nothing comes of them.
    void drop() { under_way_.clear(); }
    /// start and finish.
    StepOutcome run(const Batch& batch, std::int64_t step, std::uint64_t flags);

    /// Goes on from a checkpoint; without a loss scale with the one that a run starts with. No step may be
    /// under way.
    void resume(std::int64_t updates, const std::optional<LossScaleState>& loss_scale);
    /// After the steps that were told of; 1 but for fp16.
    const LossScaleState& loss_scale() const { return known_.loss_scale; }

    /// The parameters have what the run begins with: from now on a rank holds of their f32 values what the
    /// updates need. The first start() does it as well.
    void take_values() { update_.take_values(); }

    const Optimizer& optimizer() const { return update_.optimizer(); }
    const GradientSync& sync() const { return sync_; }
    /// Tokens of the largest pass, padding among them: below some 512, kernels are not at their best.
    std::int64_t tokens_of_a_pass() const;

  private:
    struct UnderWay {
        StepOutcome outcome;  // as far as it is known
        Tensor losses;        // of all samples, f64
        Tensor end;           // the device's kernels::StepEnd, for the host
        Event ended;
        std::vector<std::uint64_t> flags;  // by rank
        Pending flags_come, losses_come, parameters_come, tensor_comes;
    };

    /// Puts the sums of the loss of this rank's samples of the lane into `losses`, f64 by sample of the
    /// batch.
    void run_lane(int lane, const Batch& batch, std::int64_t step, const Tensor& losses);
    SampleRange samples_of(LaneRange lanes, std::int64_t samples) const;
    /// Every rank gets all samples' losses, for what is queued from now on. The operation is over when all
    /// before it of the step are.
    Pending gather(const Tensor& losses);
    std::vector<int> ranks_not_finite(const Tensor& losses) const;
    void count_blocks();
    /// The squares of all parameters' gradients, each counted once, in an order that is the same on every
    /// rank.
    Tensor square_sums();
    kernels::EndStepArgs end_args(const Batch& batch) const;
    void set_state(const kernels::UpdateState& state);

    RunConfig config_;
    Objective& objective_;
    Stream& stream_;
    Communicator& data_;
    Communicator* gradients_;
    Communicator& world_;
    TensorGroup* tensor_;  // null: this rank has the whole model
    GradientSync sync_;
    ParameterUpdate update_;
    Schedule schedule_;
    kernels::UpdateState known_;             // after the last step that was told of
    Tensor state_;                           // kernels::UpdateState, on the device
    std::vector<std::int64_t> norm_blocks_;  // with a tensor group: how many each of its ranks has
    Tensor counted_blocks_;                  // and which of all of them count, i32
    std::deque<std::unique_ptr<UnderWay>> under_way_;
};

}  // namespace skein
