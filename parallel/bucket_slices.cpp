#include "parallel/bucket_slices.h"

namespace skein {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

}  // namespace

BucketSlices::BucketSlices(const Lanes& lanes, int rank, const GradientLayout& layout)
    : layout_(layout), rank_(rank), merges_(lanes.merges()) {
    for (int other = 0; other < lanes.ranks(); ++other) {
        subtrees_of_.push_back(static_cast<int>(Lanes::subtrees(lanes.of_rank(other)).size()));
        if (other != rank) foreign_subtrees_ += subtrees_of_.back();
    }
}

std::int64_t BucketSlices::offset(std::size_t bucket, int rank) const {
    const GradientLayout::Bucket& whole = layout_.buckets[bucket];
    return whole.cuts[static_cast<std::size_t>(rank)] - whole.begin;
}

std::int64_t BucketSlices::stride(std::size_t bucket) const {
    constexpr std::int64_t kAlignment = GradientLayout::kAlignment;
    return (own_count(bucket) + kAlignment - 1) / kAlignment * kAlignment;
}

std::int64_t BucketSlices::staging_elements(std::size_t bucket) const {
    return foreign_subtrees_ * stride(bucket);
}

std::vector<Outgoing> BucketSlices::outgoing(std::size_t bucket,
                                             std::span<const std::byte* const> sums) const {
    std::vector<Outgoing> messages;
    for (int rank = 0; rank < ranks(); ++rank) {
        if (rank == rank_) continue;
        const std::int64_t begin = offset(bucket, rank) * kFloat, end = offset(bucket, rank + 1) * kFloat;
        for (const std::byte* sum : sums)
            messages.push_back({rank, {sum + begin, static_cast<std::size_t>(end - begin)}});
    }
    return messages;
}

std::vector<Incoming> BucketSlices::incoming(std::size_t bucket, std::byte* staging) const {
    std::vector<Incoming> messages;
    const auto bytes = static_cast<std::size_t>(own_count(bucket) * kFloat);
    for (int rank = 0; rank < ranks(); ++rank) {
        if (rank == rank_) continue;
        for (int i = 0; i < subtrees_of_[static_cast<std::size_t>(rank)]; ++i) {
            messages.push_back({rank, {staging, bytes}});
            staging += stride(bucket) * kFloat;
        }
    }
    return messages;
}

std::vector<float*> BucketSlices::operands(std::size_t bucket, std::span<float* const> sums,
                                           float* staging) const {
    std::vector<float*> operands;
    for (int rank = 0; rank < ranks(); ++rank) {
        if (rank == rank_) {
            for (float* sum : sums) operands.push_back(sum + offset(bucket, rank_));
            continue;
        }
        for (int i = 0; i < subtrees_of_[static_cast<std::size_t>(rank)]; ++i) {
            operands.push_back(staging);
            staging += stride(bucket);
        }
    }
    return operands;
}

std::vector<std::span<std::byte>> BucketSlices::slices(std::size_t bucket, std::byte* result) const {
    std::vector<std::span<std::byte>> slices;
    for (int rank = 0; rank < ranks(); ++rank) {
        const std::int64_t begin = offset(bucket, rank) * kFloat, end = offset(bucket, rank + 1) * kFloat;
        slices.push_back({result + begin, static_cast<std::size_t>(end - begin)});
    }
    return slices;
}

std::int64_t BucketSlices::gather_bytes(std::size_t bucket) const {
    return own_count(bucket) * kFloat * (ranks() - 1);
}

std::int64_t BucketSlices::ring_bytes(std::size_t bucket) const {
    return 2 * width(bucket) * kFloat * (ranks() - 1) / ranks();
}

}  // namespace skein
