#include "parallel/gradient_sync.h"

#include <algorithm>
#include <utility>

#include "model/base/error.h"
#include "model/kernels/work.h"
#include "model/tensor/memory.h"

namespace skein {
namespace {

// Where sharded, a parameter has the room that its largest part over the tensor-parallel group needs: so the
// cuts are the same on all of that group, and what all hold of a parameter is shared out alike.
GradientLayout layout_of(const ParameterList& parameters, const GradientSyncOptions& options, int ranks) {
    std::vector<std::int64_t> counts;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Layout& layout = parameters[i].layout;
        const Shape& global = parameters[i].global_shape;
        std::int64_t count = layout.local(global).elements();
        for (int part = 0; options.sharded && part < layout.parts; ++part)
            count = std::max(count, layout.of_part(part).local(global).elements());
        counts.push_back(count);
    }
    return {
        counts, static_cast<std::int64_t>(options.bucket_bytes / sizeof(float)), {ranks, options.sharded}};
}

// Zeros at first, so that the gaps between parameters, which travel along, hold something.
std::vector<Tensor> make_buffers(Stream& stream, std::size_t count, std::int64_t elements) {
    std::vector<Tensor> buffers;
    for (std::size_t i = 0; i < count; ++i) buffers.push_back(Tensor::zeros(stream, DType::f32, {elements}));
    return buffers;
}

// The stack is deepest with a lane on top of all that came before it.
std::size_t deepest_stack(LaneRange range, GradientReduction reduction) {
    if (reduction == GradientReduction::kFast) return 1;
    std::size_t depth = 0;
    for (int lane = range.begin; lane < range.end; ++lane)
        depth = std::max(depth, Lanes::subtrees({range.begin, lane}).size() + 1);
    return depth;
}

}  // namespace

GradientSync::GradientSync(Communicator& data, ParameterList& parameters, Stream& stream,
                           const GradientSyncOptions& options)
    : GradientSync(ExchangeGroups(data), data, parameters, stream, options) {}

GradientSync::GradientSync(ExchangeGroups groups, Communicator& data, ParameterList& parameters,
                           Stream& stream, const GradientSyncOptions& options)
    : parameters_(parameters),
      stream_(stream),
      options_(options),
      lanes_(options.lanes, data.size()),
      own_(lanes_.of_rank(data.rank())),
      layout_(layout_of(parameters, options, data.size())),
      buffers_(make_buffers(stream, deepest_stack(own_, options.reduction), layout_.elements)),
      exchange_(std::move(groups), stream, lanes_, layout_, buffers_, options.reduction,
                options.sharded ? SumsGoTo::kOwner : SumsGoTo::kAll),
      settled_(parameters.size(), 0) {
    if (options.sharded && options.reduction == GradientReduction::kFast)
        throw ConfigError("gradient sync: a sharded sum needs the lanes' reduction, found the fast one");
    for (const Tensor& buffer : buffers_) {
        std::vector<Tensor>& views = views_.emplace_back();
        for (std::size_t i = 0; i < parameters.size(); ++i)
            views.push_back(buffer.view(layout_.slices[i].begin, parameters[i].shape()));
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) parameter_of_[&parameters[i].leaf] = i;
    next_lane_ = own_.end;
}

std::size_t GradientSync::buffer_bytes() const {
    return buffers_.size() * static_cast<std::size_t>(layout_.elements) * sizeof(float);
}

int GradientSync::depth_before(int lane) const {
    if (options_.reduction == GradientReduction::kFast) return 0;
    return static_cast<int>(Lanes::subtrees({own_.begin, lane}).size());
}

void GradientSync::begin_step() {
    exchange_.reset();
    next_lane_ = own_.begin;
    lane_open_ = false;
    sent_during_backward_ = 0;
    outstanding_.clear();
    for (const GradientLayout::Bucket& bucket : layout_.buckets) outstanding_.push_back(bucket.parameters);
}

void GradientSync::begin_lane(int lane) {
    close_lane();
    if (lane != next_lane_ || lane >= own_.end)
        throw Error(text("gradient sync: lane ", lane, " begins, wanted lane ", next_lane_, " of [",
                         own_.begin, ", ", own_.end, ")"));
    const bool fast = options_.reduction == GradientReduction::kFast;
    top_ = static_cast<std::size_t>(depth_before(lane));
    merges_ = fast ? 0 : static_cast<int>(top_) + 1 - depth_before(lane + 1);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
        Leaf& leaf = parameters_[i].leaf;
        leaf.gradient = views_[top_][i];
        leaf.accumulate = fast && lane > own_.begin;
    }
    std::fill(settled_.begin(), settled_.end(), 0);
    lane_open_ = true;
}

void GradientSync::ready(Leaf& leaf) {
    const auto at = parameter_of_.find(&leaf);
    if (at == parameter_of_.end())
        throw Error("gradient sync: a leaf is ready that is none of the parameters'");
    if (!lane_open_ || settled_[at->second])
        throw Error(text("gradient sync: ", parameters_[at->second].name, " is ready ",
                         lane_open_ ? "for the second time in lane " : "outside a lane, before lane ",
                         next_lane_));
    settle(at->second);
}

void GradientSync::settle(std::size_t parameter) {
    Leaf& leaf = parameters_[parameter].leaf;
    const GradientLayout::Slice& slice = layout_.slices[parameter];
    if (!leaf.accumulate) {  // nothing was written
        if (slice.count > 0)
            stream_.run(zero_work(leaf.gradient.bytes()),
                        [&](auto& s) { zero_memory(s, leaf.gradient.raw(), leaf.gradient.bytes()); });
        leaf.accumulate = true;
    }
    for (std::size_t right = top_; right + static_cast<std::size_t>(merges_) > top_; --right) {
        const float* source = buffers_[right].data<float>() + slice.begin;
        float* target = buffers_[right - 1].data<float>() + slice.begin;
        stream_.run(kernels::copy_or_add_work(source, target, slice.count, true),
                    [&](auto& s) { kernels::copy_or_add(s, source, target, slice.count, true); });
    }
    settled_[parameter] = 1;
    if (next_lane_ + 1 < own_.end) return;
    for (int bucket = slice.first_bucket; bucket <= slice.last_bucket; ++bucket)
        if (--outstanding_[static_cast<std::size_t>(bucket)] == 0) exchange_.mark_full(bucket);
}

void GradientSync::empty_lane(int lane) {
    begin_lane(lane);
    for (const std::size_t parameter : layout_.order) {
        settle(parameter);
        poll();
    }
}

void GradientSync::close_lane() {
    if (!lane_open_) return;
    for (const std::size_t parameter : layout_.order)
        if (!settled_[parameter]) settle(parameter);
    lane_open_ = false;
    ++next_lane_;
}

void GradientSync::poll() {
    if (options_.overlap) exchange_.poll();
}

void GradientSync::spread(std::size_t end) {
    exchange_.mark_updated(end);
    poll();
}

void GradientSync::finish() {
    close_lane();
    if (next_lane_ != own_.end)
        throw Error(text("gradient sync: the step ends before lane ", next_lane_, " of [", own_.begin, ", ",
                         own_.end, ")"));
    exchange_.finish();
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
        parameters_[i].leaf.gradient = views_[0][i];
        parameters_[i].leaf.accumulate = true;
    }
}

}  // namespace skein
