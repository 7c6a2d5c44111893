#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>

#include "model/kernels/adam.h"
#include "model/kernels/elementwise.h"

namespace skein {

Optimizer::Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream)
    : section_(section), parameters_(parameters), stream_(stream) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        moment1_.push_back(Tensor::zeros(stream, DType::f32, parameters[i].leaf.value.shape()));
        moment2_.push_back(Tensor::zeros(stream, DType::f32, parameters[i].leaf.value.shape()));
    }
}

void Optimizer::step(std::int64_t update, double rate, double gradient_scale) {
    kernels::AdamArgs args;
    args.rate = static_cast<float>(rate);
    args.beta1 = static_cast<float>(section_.beta1);
    args.beta2 = static_cast<float>(section_.beta2);
    args.epsilon = static_cast<float>(section_.epsilon);
    args.correction1 = static_cast<float>(1.0 - std::pow(section_.beta1, static_cast<double>(update)));
    args.correction2 = static_cast<float>(1.0 - std::pow(section_.beta2, static_cast<double>(update)));
    args.gradient_scale = static_cast<float>(gradient_scale);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
        const Parameter& parameter = parameters_[i];
        const auto decay = static_cast<float>(parameter.decays ? section_.weight_decay : 0.0);
        args.coupled_decay = section_.kind == OptimizerKind::kAdam ? decay : 0.0f;
        args.decoupled_decay = section_.kind == OptimizerKind::kAdamW ? decay : 0.0f;
        args.count = parameter.leaf.value.elements();
        args.parameter = parameter.leaf.value.data<float>();
        args.copy = parameter.leaf.copy ? parameter.leaf.copy.operand() : Operand{};
        args.gradient = parameter.leaf.gradient.data<float>();
        args.moment1 = moment1_[i].data<float>();
        args.moment2 = moment2_[i].data<float>();
        stream_.run([&](auto& s) { kernels::adam(s, args); });
    }
}

double gradient_norm(ParameterList& parameters, Stream& stream) {
    std::int64_t most = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i)
        most = std::max(most, parameters[i].leaf.gradient.elements());
    const std::int64_t most_blocks = (most + kernels::kNormBlock - 1) / kernels::kNormBlock;
    const Tensor sums = Tensor::empty(stream, DType::f64, {most_blocks});
    double total = 0.0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Tensor& gradient = parameters[i].leaf.gradient;
        const std::int64_t blocks = (gradient.elements() + kernels::kNormBlock - 1) / kernels::kNormBlock;
        stream.run([&](auto& s) {
            kernels::block_square_sums(s, gradient.data<float>(), gradient.elements(), sums.data<double>());
        });
        for (std::int64_t block = 0; block < blocks; ++block) total += sums.data<double>()[block];
    }
    return std::sqrt(total);
}

}  // namespace skein
