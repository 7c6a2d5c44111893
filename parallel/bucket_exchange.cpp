#include "parallel/bucket_exchange.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "model/base/error.h"
#include "model/base/parallel_for.h"

namespace skein {
namespace {

// Buckets whose sums are on their way at once: bounds the staging memory.
constexpr std::size_t kScattersInFlight = 8;
// Elements that are taken through the whole tree at a time, to stay in the cache.
constexpr std::int64_t kBlock = 1 << 12;

constexpr std::int64_t align_up(std::int64_t n) {
    return (n + GradientLayout::kAlignment - 1) / GradientLayout::kAlignment * GradientLayout::kAlignment;
}

std::span<std::byte> bytes_of(const Tensor& buffer, std::int64_t begin, std::int64_t end) {
    return std::as_writable_bytes(
        buffer.span<float>().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
}

}  // namespace

BucketExchange::BucketExchange(ExchangeGroups groups, Stream& stream, const Lanes& lanes,
                               const GradientLayout& layout, const std::vector<Tensor>& buffers,
                               GradientReduction reduction)
    : groups_(std::move(groups)),
      stream_(stream),
      layout_(layout),
      buffers_(buffers),
      reduction_(reduction),
      rank_(groups_.scatter->rank()),
      ranks_(groups_.scatter->size()),
      merges_(lanes.merges()),
      full_(layout.buckets.size(), 0) {
    for (int rank = 0; rank < ranks_; ++rank) {
        subtrees_of_.push_back(static_cast<int>(Lanes::subtrees(lanes.of_rank(rank)).size()));
        if (rank != rank_) foreign_subtrees_ += subtrees_of_.back();
    }
}

void BucketExchange::reset() {
    if (!scatters_.empty() || !gathers_.empty())
        throw Error(text("gradient sync: a new step while ", scatters_.size() + gathers_.size(),
                         " buckets of the last are under way"));
    std::fill(full_.begin(), full_.end(), 0);
    next_ = 0;
    bytes_sent_ = 0;
}

std::int64_t BucketExchange::begin_of(std::size_t bucket, int rank) const {
    return GradientLayout::slice_begin(layout_.buckets[bucket], ranks_, rank);
}

std::int64_t BucketExchange::own_count(std::size_t bucket) const {
    return begin_of(bucket, rank_ + 1) - begin_of(bucket, rank_);
}

std::int64_t BucketExchange::staging_elements(std::size_t bucket) const {
    return foreign_subtrees_ * align_up(own_count(bucket));
}

std::size_t BucketExchange::staging_bytes() const {
    if (ranks_ == 1 || reduction_ == GradientReduction::kFast) return 0;
    std::int64_t held = 0, most = 0;
    for (std::size_t bucket = 0; bucket < layout_.buckets.size(); ++bucket) {
        held += staging_elements(bucket);
        if (bucket >= kScattersInFlight) held -= staging_elements(bucket - kScattersInFlight);
        most = std::max(most, held);
    }
    return static_cast<std::size_t>(most) * sizeof(float);
}

void BucketExchange::poll() {
    if (ranks_ == 1) return;
    const auto move_on = [&](auto& phase) {
        if (phase.done || !phase.pending.poll()) return;
        phase.done = true;
        bytes_sent_ += phase.bytes;
    };
    for (Gather& gather : gathers_) move_on(gather);
    while (!gathers_.empty() && gathers_.front().done) gathers_.pop_front();
    for (Scatter& scatter : scatters_) move_on(scatter);
    while (!scatters_.empty() && scatters_.front().done) {
        sum_slice(scatters_.front());
        const std::size_t bucket = scatters_.front().bucket;
        scatters_.pop_front();
        start_gather(bucket);
    }
    while (next_ < full_.size() && full_[next_] && scatters_.size() < kScattersInFlight) start(next_++);
}

void BucketExchange::finish() {
    if (const auto at = std::find(full_.begin(), full_.end(), 0); at != full_.end())
        throw Error(
            text("gradient sync: bucket ", at - full_.begin(), " is not full at the end of the step"));
    if (ranks_ == 1) return;
    for (poll(); !over(); poll()) std::this_thread::yield();
}

void BucketExchange::start(std::size_t bucket) {
    const auto [begin, end, parameters] = layout_.buckets[bucket];
    if (reduction_ == GradientReduction::kFast) {
        const std::int64_t bytes =
            2 * (end - begin) * static_cast<std::int64_t>(sizeof(float)) * (ranks_ - 1) / ranks_;
        const std::span<float> values = buffers_[0].span<float>().subspan(
            static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
        gathers_.push_back({groups_.gather->start_fast_all_reduce(values), bytes, false});
        return;
    }
    Scatter scatter;
    scatter.bucket = bucket;
    const std::int64_t stride = align_up(own_count(bucket));
    scatter.staging = Tensor::empty(stream_, DType::f32, {staging_elements(bucket)});
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    std::int64_t row = 0;
    for (int rank = 0; rank < ranks_; ++rank) {
        if (rank == rank_) continue;
        for (int i = 0; i < subtrees_of_[static_cast<std::size_t>(rank)]; ++i, ++row)
            receive.push_back(
                {rank, bytes_of(scatter.staging, row * stride, row * stride + own_count(bucket))});
        for (int i = 0; i < subtrees_of_[static_cast<std::size_t>(rank_)]; ++i) {
            send.push_back({rank, bytes_of(buffers_[static_cast<std::size_t>(i)], begin_of(bucket, rank),
                                           begin_of(bucket, rank + 1))});
            scatter.bytes += static_cast<std::int64_t>(send.back().bytes.size());
        }
    }
    scatter.pending = groups_.scatter->start_exchange(send, receive);
    scatters_.push_back(std::move(scatter));
}

void BucketExchange::sum_slice(const Scatter& scatter) const {
    // The operands in the order of lanes: the others' from staging, our own where they lie. Our own slice of
    // our buffers was sent to nobody, so it may be overwritten.
    const std::int64_t count = own_count(scatter.bucket), stride = align_up(count);
    std::vector<float*> operands;
    float* staged = scatter.staging.data<float>();
    for (int rank = 0; rank < ranks_; ++rank)
        for (int i = 0; i < subtrees_of_[static_cast<std::size_t>(rank)]; ++i) {
            if (rank == rank_) {
                operands.push_back(buffers_[static_cast<std::size_t>(i)].data<float>() +
                                   begin_of(scatter.bucket, rank_));
            } else {
                operands.push_back(staged);
                staged += stride;
            }
        }
    float* result = buffers_[0].data<float>() + begin_of(scatter.bucket, rank_);
    stream_.run([&](auto& s) {
        parallel_blocks(s.threads, count, kBlock, [&](std::int64_t begin, std::int64_t end) {
            for (const Merge& merge : merges_) {
                float* left = operands[static_cast<std::size_t>(merge.left)];
                const float* right = operands[static_cast<std::size_t>(merge.right)];
                float* target = &merge == &merges_.back() ? result : left;
                for (std::int64_t i = begin; i < end; ++i) target[i] = left[i] + right[i];
            }
        });
    });
}

void BucketExchange::start_gather(std::size_t bucket) {
    const Tensor& result = buffers_[0];
    std::vector<std::span<std::byte>> receive;
    for (int rank = 0; rank < ranks_; ++rank)
        receive.push_back(bytes_of(result, begin_of(bucket, rank), begin_of(bucket, rank + 1)));
    const std::span<std::byte> own = receive[static_cast<std::size_t>(rank_)];
    gathers_.push_back({groups_.gather->start_all_gather(own, receive),
                        static_cast<std::int64_t>(own.size()) * (ranks_ - 1), false});
}

}  // namespace skein
