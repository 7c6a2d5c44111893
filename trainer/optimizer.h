#pragma once

#include <vector>

#include "model/kernels/update.h"
#include "model/nn/parameter.h"
#include "trainer/config.h"

namespace skein {

/// Adam or AdamW over a list of parameters: their moments, and the update. Moments are f32 of the parameters'
/// shapes. Where a parameter has a 16-bit copy, it follows. Nothing here waits for the device.
class Optimizer {
  public:
    /// The parameters must outlive it.
    Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream);

    /// f64: the squares of the gradients in the parameters' leaves, summed over fixed blocks of each
    /// parameter, in order, so that they do not depend on how the work is shared out.
    Tensor square_sums();
    /// One update with those gradients. `end`, on the device, says how, and whether at all.
    void step(const kernels::StepEnd* end);
    /// 1 - β^update of the two moments.
    float correction1(std::int64_t update) const;
    float correction2(std::int64_t update) const;

    Tensor& moment1(std::size_t parameter) { return moment1_[parameter]; }
    Tensor& moment2(std::size_t parameter) { return moment2_[parameter]; }

  private:
    /// The list as the leaves stand now; the device's copy of it is renewed where one of them moved.
    const kernels::AdamList& list();

    OptimizerSection section_;
    ParameterList& parameters_;
    Stream& stream_;
    std::vector<Tensor> moment1_, moment2_;
    std::vector<kernels::AdamTensor> tensors_;  // what the device has
    Tensor device_tensors_, device_blocks_;
    kernels::AdamList list_;
};

}  // namespace skein
