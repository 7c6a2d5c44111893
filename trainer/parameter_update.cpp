#include "trainer/parameter_update.h"

#include <utility>
#include <vector>

#include "model/kernels/work.h"
#include "parallel/gather_slices.h"

namespace skein {
namespace {

std::vector<std::int64_t> counts_of(const ParameterList& parameters) {
    std::vector<std::int64_t> counts;
    for (std::size_t i = 0; i < parameters.size(); ++i) counts.push_back(parameters[i].shape().elements());
    return counts;
}

}  // namespace

Tensor chosen_elements(Stream& stream, const Tensor& from, const Tensor& which) {
    const Tensor chosen = Tensor::empty(stream, DType::f64, {which.elements()});
    kernels::GatherRowsArgs args;
    args.from = from.raw();
    args.to = chosen.raw();
    args.which = which.data<std::int32_t>();
    args.rows = which.elements();
    args.from_stride = args.to_stride = args.bytes = sizeof(double);
    stream.run(work_of(args), [&](auto& s) { kernels::gather_rows(s, args); });
    return chosen;
}

ParameterUpdate::ParameterUpdate(const OptimizerSection& section, ParameterList& parameters, Stream& stream,
                                 GradientSync& sync, Communicator& data, Communicator* gradients)
    : parameters_(parameters), stream_(stream), sync_(sync), data_(data), gradients_(gradients) {
    if (!sync.sharded()) {
        optimizer_.emplace(section, parameters, stream);
        return;
    }
    plan_.emplace(sync.layout(), counts_of(parameters), data.rank());
    optimizer_.emplace(section, parameters, stream, plan_->own);
    places_ = Tensor::from<std::int32_t>(stream, {std::ssize(plan_->places)}, plan_->places);
}

void ParameterUpdate::take_values() {
    if (plan_) optimizer_->take_masters();
}

Tensor ParameterUpdate::square_sums() {
    if (!plan_) {
        const Tensor sums = Tensor::empty(stream_, DType::f64, {optimizer_->blocks()});
        optimizer_->square_sums(sums.data<double>());
        return sums;
    }
    const std::vector<std::int64_t>& first = plan_->first_block;
    const Tensor by_rank = Tensor::empty(stream_, DType::f64, {first.back()});
    optimizer_->square_sums(by_rank.data<double>() + first[static_cast<std::size_t>(data_.rank())]);
    gather_slices(stream_, data_, gradients_, by_rank, first);
    return chosen_elements(stream_, by_rank, places_);
}

kernels::AdamList ParameterUpdate::others(std::size_t first, std::size_t last) {
    if (first > 0) return others_.of(first, last);  // the leaves are where they were
    std::vector<kernels::AdamTensor> tensors;
    for (const ParameterRun& run : plan_->others) {
        const Leaf& leaf = parameters_[run.parameter].leaf;
        kernels::AdamTensor tensor;
        tensor.count = run.count;
        if (leaf.value) tensor.parameter = leaf.value.data<float>() + run.begin;
        if (leaf.copy)
            tensor.copy = leaf.copy.raw() + run.begin * static_cast<std::int64_t>(size_of(leaf.copy.dtype()));
        tensor.gradient = leaf.gradient.data<float>() + run.begin;
        tensors.push_back(tensor);
    }
    others_.set(stream_, std::move(tensors), parameters_.forward_dtype());
    return others_.of(first, last);
}

Pending ParameterUpdate::step(const kernels::StepEnd* end) {
    if (!plan_) {
        optimizer_->step(end);
        return {};
    }
    std::size_t first = 0;
    for (const ShardPlan::Group& group : plan_->groups) {
        optimizer_->step(end, first, group.own);
        sync_.spread(group.buckets);
        first = group.own;
    }
    first = 0;
    for (const ShardPlan::Group& group : plan_->groups) {
        sync_.await_spread(group.buckets);
        const kernels::TakeArgs args{others(first, group.others), end};
        stream_.run(kernels::take_work(others_.tensors(first, group.others), args.list.copies),
                    [&](auto& s) { kernels::take_parameters(s, args); });
        first = group.others;
    }
    return sync_.last_spread();
}

}  // namespace skein
