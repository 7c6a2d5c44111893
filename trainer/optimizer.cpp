#include "trainer/optimizer.h"

#include <cmath>
#include <utility>

#include "model/kernels/work.h"
#include "model/tensor/memory.h"

namespace skein {
namespace {

constexpr std::int64_t kAlignment = 16;  // elements: 64 bytes

float correction(double beta, std::int64_t update) {
    return static_cast<float>(1.0 - std::pow(beta, static_cast<double>(update)));
}

std::vector<ParameterRun> whole(const ParameterList& parameters) {
    std::vector<ParameterRun> runs;
    for (std::size_t i = 0; i < parameters.size(); ++i)
        runs.push_back({i, 0, parameters[i].shape().elements()});
    return runs;
}

}  // namespace

Optimizer::Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream)
    : Optimizer(section, parameters, stream, whole(parameters)) {
    sends_ = false;
}

Optimizer::Optimizer(const OptimizerSection& section, ParameterList& parameters, Stream& stream,
                     std::vector<ParameterRun> runs)
    : section_(section), parameters_(parameters), stream_(stream), runs_(std::move(runs)), sends_(true) {
    std::int64_t place = 0;
    for (const ParameterRun& run : runs_) {
        places_.push_back(place);
        place += (run.count + kAlignment - 1) / kAlignment * kAlignment;
    }
    moment1_ = Tensor::zeros(stream, DType::f32, {place});
    moment2_ = Tensor::zeros(stream, DType::f32, {place});
}

Tensor Optimizer::part_of(const Tensor& all, std::size_t run) const {
    return all.view(places_[run], {runs_[run].count});
}

Tensor Optimizer::value(std::size_t run) const {
    const ParameterRun& part = runs_[run];
    const Leaf& leaf = parameters_[part.parameter].leaf;
    return has_masters_ && leaf.copy ? part_of(masters_, run) : leaf.value.view(part.begin, {part.count});
}

void Optimizer::take_masters() {
    if (has_masters_ || parameters_.forward_dtype() == DType::f32) return;
    masters_ = Tensor::empty(stream_, DType::f32, moment1_.shape());
    for (std::size_t run = 0; run < runs_.size(); ++run) {
        if (!parameters_[runs_[run].parameter].leaf.copy) continue;
        const Tensor from = value(run), to = part_of(masters_, run);
        stream_.run(copy_work(to.bytes()),
                    [&](auto& s) { copy_memory(s, from.raw(), to.raw(), to.bytes()); });
    }
    has_masters_ = true;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        if (parameters_[i].leaf.copy) parameters_[i].leaf.value = {};
}

void Optimizer::renew_list() {
    std::vector<kernels::AdamTensor> tensors;
    for (std::size_t run = 0; run < runs_.size(); ++run) {
        const ParameterRun& part = runs_[run];
        const Parameter& parameter = parameters_[part.parameter];
        const Leaf& leaf = parameter.leaf;
        const auto decay = static_cast<float>(parameter.decays() ? section_.weight_decay : 0.0);
        float* gradient = leaf.gradient.data<float>() + part.begin;
        kernels::AdamTensor tensor;
        tensor.count = part.count;
        tensor.parameter = value(run).data<float>();
        if (leaf.copy)
            tensor.copy =
                leaf.copy.raw() + part.begin * static_cast<std::int64_t>(size_of(leaf.copy.dtype()));
        tensor.gradient = gradient;
        tensor.moment1 = moment1(run).data<float>();
        tensor.moment2 = moment2(run).data<float>();
        if (sends_) tensor.sent = gradient;
        tensor.coupled_decay = section_.kind == OptimizerKind::kAdam ? decay : 0.0f;
        tensor.decoupled_decay = section_.kind == OptimizerKind::kAdamW ? decay : 0.0f;
        tensors.push_back(tensor);
    }
    list_.set(stream_, std::move(tensors), parameters_.forward_dtype());
}

std::int64_t Optimizer::blocks() const {
    std::int64_t blocks = 0;
    for (const ParameterRun& run : runs_) blocks += kernels::norm_blocks(run.count);
    return blocks;
}

void Optimizer::square_sums(double* sums) {
    renew_list();
    const kernels::AdamList all = list_.of(0, runs_.size());
    stream_.run(kernels::square_sums_work(list_.tensors(0, runs_.size())),
                [&](auto& s) { kernels::gradient_square_sums(s, all, sums); });
}

void Optimizer::step(const kernels::StepEnd* end) {
    renew_list();
    step(end, 0, runs_.size());
}

void Optimizer::step(const kernels::StepEnd* end, std::size_t first, std::size_t last) {
    kernels::AdamArgs args{list_.of(first, last), end};
    args.beta1 = static_cast<float>(section_.beta1);
    args.beta2 = static_cast<float>(section_.beta2);
    args.epsilon = static_cast<float>(section_.epsilon);
    stream_.run(kernels::adam_work(list_.tensors(first, last), args.list.copies),
                [&](auto& s) { kernels::adam(s, args); });
}

float Optimizer::correction1(std::int64_t update) const {
    return correction(section_.beta1, update);
}

float Optimizer::correction2(std::int64_t update) const {
    return correction(section_.beta2, update);
}

}  // namespace skein
