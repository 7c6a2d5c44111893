#include "parallel/queued_route.h"

#include <algorithm>
#include <utility>

#include "model/base/error.h"
#include "parallel/tree_sum.h"

namespace skein {
namespace {

Tensor staging_for(Stream& stream, const BucketSlices& slices, GradientReduction reduction) {
    std::int64_t most = 0;
    if (reduction == GradientReduction::kLanes && slices.ranks() > 1)
        for (std::size_t bucket = 0; bucket < slices.buckets(); ++bucket)
            most = std::max(most, slices.staging_elements(bucket));
    return Tensor::empty(stream, DType::f32, {most});
}

}  // namespace

QueuedRoute::QueuedRoute(Communicator& communicator, Stream& stream, const BucketSlices& slices,
                         const std::vector<Tensor>& sums, GradientReduction reduction, SumsGoTo sums_go_to)
    : communicator_(communicator),
      slices_(slices),
      buffers_(sums),
      reduction_(reduction),
      sums_go_to_(sums_go_to),
      staging_(staging_for(stream, slices, reduction)) {}

QueuedRoute::~QueuedRoute() {
    try {
        last_.wait();  // whoever gets the memory next is queued behind its use here
        for (Pending& spread : spreads_) spread.wait();
    } catch (const Error&) {
        // the communicator is of no more use, and what it had queued is gone
    }
}

void QueuedRoute::start(std::size_t bucket) {
    const std::int64_t begin = slices_.bucket(bucket).begin;
    if (reduction_ == GradientReduction::kFast) {
        last_ = communicator_.start_fast_all_reduce(
            {buffers_[0].data<float>() + begin, static_cast<std::size_t>(slices_.width(bucket))});
        bytes_sent_ += slices_.ring_bytes(bucket);
        return;
    }
    std::vector<float*> sums;
    std::vector<const std::byte*> outgoing;
    for (int i = 0; i < slices_.own_subtrees(); ++i) {
        sums.push_back(buffers_[static_cast<std::size_t>(i)].data<float>() + begin);
        outgoing.push_back(reinterpret_cast<const std::byte*>(sums.back()));
    }
    const std::vector<Outgoing> send = slices_.outgoing(bucket, outgoing);
    for (const Outgoing& message : send) bytes_sent_ += static_cast<std::int64_t>(message.bytes.size());
    communicator_.start_exchange(send, slices_.incoming(bucket, staging_.raw()));

    // This rank's own slice of its sums was sent to nobody, so it may be overwritten.
    const std::vector<float*> operands = slices_.operands(bucket, sums, staging_.data<float>());
    float* result = sums[0] + slices_.offset(bucket, slices_.rank());
    communicator_.stream()->run(
        [&](auto& s) { sum_along_tree(s, slices_.merges(), operands, result, slices_.own_count(bucket)); });
    if (sums_go_to_ == SumsGoTo::kAll) last_ = gather(bucket);
}

Pending QueuedRoute::gather(std::size_t bucket) {
    auto* result = reinterpret_cast<std::byte*>(buffers_[0].data<float>() + slices_.bucket(bucket).begin);
    const auto parts = slices_.slices(bucket, result);
    bytes_sent_ += slices_.gather_bytes(bucket);
    return communicator_.start_all_gather(parts[static_cast<std::size_t>(slices_.rank())], parts);
}

void QueuedRoute::poll() {
    if (!steps_.empty() && steps_.front().poll()) steps_.pop_front();
}

void QueuedRoute::forget() {
    last_.wait();  // of a step that was left half-way
    for (Pending& spread : spreads_) spread.wait();
    last_ = {};
    spreads_.clear();
    awaited_ = 0;
    bytes_sent_ = 0;
}

void QueuedRoute::spread(std::size_t bucket) {
    spreads_.push_back(gather(bucket));
}

bool QueuedRoute::is_spread(std::size_t bucket) {
    for (; awaited_ < spreads_.size() && awaited_ <= bucket; ++awaited_) spreads_[awaited_].wait();
    return bucket < awaited_;
}

Pending QueuedRoute::last_spread() {
    return spreads_.empty() ? Pending{} : std::exchange(spreads_.back(), {});
}

void QueuedRoute::finish() {
    // behind the last sum, which is no operation of the communicator's
    if (sums_go_to_ == SumsGoTo::kOwner) last_ = communicator_.start_exchange({}, {});
    last_.wait();
    steps_.push_back(std::move(last_));
    for (; steps_.size() > 1; steps_.pop_front()) steps_.front().wait_on_host();
}

}  // namespace skein
