#include "parallel/bucket_exchange.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "model/base/error.h"
#include "parallel/host_route.h"
#include "parallel/queued_route.h"

namespace skein {
namespace {

std::unique_ptr<BucketRoute> route_for(ExchangeGroups groups, Stream& stream, const BucketSlices& slices,
                                       const std::vector<Tensor>& buffers, GradientReduction reduction,
                                       SumsGoTo sums_go_to) {
    if (groups.queued)
        return std::make_unique<QueuedRoute>(*groups.queued, stream, slices, buffers, reduction, sums_go_to);
    return std::make_unique<HostRoute>(std::move(groups.scatter), std::move(groups.gather), stream, slices,
                                       buffers, reduction, sums_go_to);
}

}  // namespace

BucketExchange::BucketExchange(ExchangeGroups groups, Stream& stream, const Lanes& lanes,
                               const GradientLayout& layout, const std::vector<Tensor>& buffers,
                               GradientReduction reduction, SumsGoTo sums_go_to)
    : slices_(lanes, groups.rank, layout),
      route_(route_for(std::move(groups), stream, slices_, buffers, reduction, sums_go_to)),
      full_(layout.buckets.size(), 0) {}

void BucketExchange::reset() {
    if (!route_->over()) throw Error("gradient sync: a new step while buckets of the last are under way");
    std::fill(full_.begin(), full_.end(), 0);
    next_ = updated_ = next_spread_ = 0;
    route_->forget();
}

void BucketExchange::poll() {
    if (slices_.ranks() == 1) return;
    route_->poll();
    while (next_ < full_.size() && full_[next_] && route_->has_room()) route_->start(next_++);
    while (next_spread_ < updated_ && route_->has_room_to_spread()) route_->spread(next_spread_++);
}

void BucketExchange::finish() {
    if (const auto at = std::find(full_.begin(), full_.end(), 0); at != full_.end())
        throw Error(
            text("gradient sync: bucket ", at - full_.begin(), " is not full at the end of the step"));
    if (slices_.ranks() == 1) return;
    for (poll(); next_ < full_.size() || !route_->over(); poll()) std::this_thread::yield();
    route_->finish();
}

void BucketExchange::await_spread(std::size_t end) {
    if (slices_.ranks() == 1 || end == 0) return;
    for (poll(); !route_->is_spread(end - 1); poll()) std::this_thread::yield();
}

}  // namespace skein
