#pragma once

#include <cstddef>
#include <vector>

#include "model/kernels/update.h"
#include "model/nn/parameter.h"
#include "parallel/shard_plan.h"
#include "trainer/config.h"
#include "trainer/update_list.h"

namespace skein {

/// Adam or AdamW over a list of parameters, or over parts of them: their moments, and the update. Moments are
/// f32. Where a parameter has a 16-bit copy, it follows. Nothing here waits for the device.
class Optimizer {
  public:
    /// The parameters must outlive it. Of all parameters, whole.
    Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream);
    /// Of these runs. The new values go to the gradients' places as well, for other ranks to get.
    Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream,
              std::vector<ParameterRun> runs);

    /// What it updates: all parameters in order, or the runs that it was given.
    const std::vector<ParameterRun>& runs() const { return runs_; }
    /// Blocks of kernels::kNormBlock elements in the runs.
    std::int64_t blocks() const;
    /// sums[i]: the squares of the gradients in the parameters' leaves, summed in fp64 over block i of the
    /// runs, so that they do not depend on how the work is shared out. `sums` is on the device.
    void square_sums(double* sums);
    /// One update with those gradients. `end`, on the device, says how, and whether at all.
    void step(const kernels::StepEnd* end);
    /// The same for runs [first, last) only, with the gradients that square_sums was last called for.
    void step(const kernels::StepEnd* end, std::size_t first, std::size_t last);
    /// 1 - β^update of the two moments.
    float correction1(std::int64_t update) const;
    float correction2(std::int64_t update) const;

    /// [count] of a run.
    Tensor moment1(std::size_t run) const { return part_of(moment1_, run); }
    Tensor moment2(std::size_t run) const { return part_of(moment2_, run); }
    /// From now on the values of the parameters that have a 16-bit copy are held here, for the runs only, and
    /// the leaves' are dropped.
    void take_masters();
    /// What the update reads and writes: of the leaf's value, or what take_masters took.
    Tensor value(std::size_t run) const;
    /// Of moments and values that are held here.
    std::size_t bytes() const { return moment1_.bytes() + moment2_.bytes() + masters_.bytes(); }

  private:
    Tensor part_of(const Tensor& all, std::size_t run) const;
    /// The list becomes what the leaves are now.
    void renew_list();

    OptimizerSection section_;
    ParameterList& parameters_;
    Stream& stream_;
    std::vector<ParameterRun> runs_;
    bool sends_, has_masters_ = false;
    std::vector<std::int64_t> places_;  // of the runs in each of these
    Tensor moment1_, moment2_, masters_;
    UpdateList list_;
};

}  // namespace skein
