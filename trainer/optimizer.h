#pragma once

#include <span>
#include <vector>

#include "model/nn/parameter.h"
#include "trainer/config.h"

namespace skein {

/// Adam or AdamW over a list of parameters: their moments, and the update. Moments are f32 of the parameters'
/// shapes. Where a parameter has a 16-bit copy, it follows.
class Optimizer {
  public:
    /// The parameters must outlive it.
    Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream);

    /// One update with the gradients in the parameters' leaves, each multiplied by `gradient_scale`. `update`
    /// counts from 1.
    void step(std::int64_t update, double rate, double gradient_scale);

    Tensor& moment1(std::size_t parameter) { return moment1_[parameter]; }
    Tensor& moment2(std::size_t parameter) { return moment2_[parameter]; }

  private:
    OptimizerSection section_;
    ParameterList& parameters_;
    Stream& stream_;
    std::vector<Tensor> moment1_, moment2_;
};

/// The global norm of the gradients in the parameters' leaves: squares summed in fp64 over fixed blocks of
/// each parameter, blocks added in order, so that it does not depend on how the work is shared out. Not
/// finite when an element is not.
double gradient_norm(ParameterList& parameters, Stream& stream);

}  // namespace skein
