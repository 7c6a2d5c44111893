#include "trainer/optimizer.h"

#include <cmath>
#include <span>
#include <utility>

namespace skein {
namespace {

/// A copy of host structures in the device's memory.
template <class T>
Tensor on_device(Stream& stream, const std::vector<T>& values) {
    static_assert(sizeof(T) % 8 == 0);
    const auto words = static_cast<std::int64_t>(values.size() * sizeof(T) / 8);
    return Tensor::from_bytes(stream, DType::i64, {words}, std::as_bytes(std::span(values)));
}

float correction(double beta, std::int64_t update) {
    return static_cast<float>(1.0 - std::pow(beta, static_cast<double>(update)));
}

}  // namespace

Optimizer::Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream)
    : section_(section), parameters_(parameters), stream_(stream) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        moment1_.push_back(Tensor::zeros(stream, DType::f32, parameters[i].leaf.value.shape()));
        moment2_.push_back(Tensor::zeros(stream, DType::f32, parameters[i].leaf.value.shape()));
    }
}

const kernels::AdamList& Optimizer::list() {
    std::vector<kernels::AdamTensor> tensors;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
        const Parameter& parameter = parameters_[i];
        const auto decay = static_cast<float>(parameter.decays() ? section_.weight_decay : 0.0);
        kernels::AdamTensor tensor;
        tensor.count = parameter.leaf.value.elements();
        tensor.parameter = parameter.leaf.value.data<float>();
        tensor.copy = parameter.leaf.copy.raw();
        tensor.gradient = parameter.leaf.gradient.data<float>();
        tensor.moment1 = moment1_[i].data<float>();
        tensor.moment2 = moment2_[i].data<float>();
        tensor.coupled_decay = section_.kind == OptimizerKind::kAdam ? decay : 0.0f;
        tensor.decoupled_decay = section_.kind == OptimizerKind::kAdamW ? decay : 0.0f;
        tensors.push_back(tensor);
    }
    if (tensors != tensors_) {
        tensors_ = std::move(tensors);
        const std::vector<kernels::TensorBlock> blocks = kernels::blocks_of(tensors_);
        device_tensors_ = on_device(stream_, tensors_);
        device_blocks_ = on_device(stream_, blocks);
        list_.tensors = reinterpret_cast<const kernels::AdamTensor*>(device_tensors_.raw());
        list_.blocks = reinterpret_cast<const kernels::TensorBlock*>(device_blocks_.raw());
        list_.block_count = static_cast<std::int64_t>(blocks.size());
    }
    list_.copies = parameters_.forward_dtype();
    return list_;
}

Tensor Optimizer::square_sums() {
    const kernels::AdamList& all = list();
    const Tensor sums = Tensor::empty(stream_, DType::f64, {all.block_count});
    stream_.run([&](auto& s) { kernels::gradient_square_sums(s, all, sums.data<double>()); });
    return sums;
}

void Optimizer::step(const kernels::StepEnd* end) {
    kernels::AdamArgs args{list(), end};
    args.beta1 = static_cast<float>(section_.beta1);
    args.beta2 = static_cast<float>(section_.beta2);
    args.epsilon = static_cast<float>(section_.epsilon);
    stream_.run([&](auto& s) { kernels::adam(s, args); });
}

float Optimizer::correction1(std::int64_t update) const {
    return correction(section_.beta1, update);
}

float Optimizer::correction2(std::int64_t update) const {
    return correction(section_.beta2, update);
}

}  // namespace skein
