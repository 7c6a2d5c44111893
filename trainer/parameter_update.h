#pragma once

#include <optional>

#include "parallel/gradient_sync.h"
#include "parallel/shard_plan.h"
#include "trainer/optimizer.h"

namespace skein {

/// from[which[i]] for each i: f64 [which].
Tensor chosen_elements(Stream& stream, const Tensor& from, const Tensor& which);

/// What a step does with the summed gradients: the squares for the norm, and the update of all parameters.
/// Where the sync is sharded, each data-parallel rank updates its slices of the buckets alone and holds the
/// moments (in 16-bit precision the f32 values of what has a copy as well) for them alone; the new values are
/// spread to the others while the next ones are made. The bits do not depend on it.
class ParameterUpdate {
  public:
    /// `data`, `gradients`: as TrainingStep has them. All arguments must outlive it.
    ParameterUpdate(const OptimizerSection& section, ParameterList& parameters, Stream& stream,
                    GradientSync& sync, Communicator& data, Communicator* gradients);

    /// What the values are by then is what the updates go on from. With a sharded sync, 16-bit copies are all
    /// that is left of whole parameters. To be called before the first use of the parameters in a step; all
    /// but the first call do nothing.
    void take_values();
    /// f64: the squares of the gradients that the sync left, summed over the fixed blocks of each parameter,
    /// in order: all of this rank's parameters' blocks, whoever updates them. Collective over the data group.
    Tensor square_sums();
    /// One update, as `end` says. What is queued from now on finds the new values of all parameters.
    /// Collective over the data group. Gives an operation for the host to ask whether all is over that came
    /// before. To be called after square_sums. Throws MpiError, CudaError.
    Pending step(const kernels::StepEnd* end);

    const Optimizer& optimizer() const { return *optimizer_; }

  private:
    kernels::AdamList others(std::size_t first, std::size_t last);

    ParameterList& parameters_;
    Stream& stream_;
    GradientSync& sync_;
    Communicator& data_;
    Communicator* gradients_;
    std::optional<ShardPlan> plan_;  // none: every rank updates everything
    std::optional<Optimizer> optimizer_;
    Tensor places_;  // the plan's, on the device
    UpdateList others_;
};

}  // namespace skein
