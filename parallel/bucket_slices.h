#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/tensor/communicator.h"
#include "parallel/gradient_layout.h"
#include "parallel/lanes.h"

namespace skein {

/// How buckets of gradients are cut over the data-parallel ranks, and what of them goes where. A rank holds
/// the sums of its subtrees of lanes, sends each rank that one's slice of them, adds up its own slice along
/// the tree and sends the sum to all. Addresses are of whichever memory the caller has the bytes in.
class BucketSlices {
  public:
    /// The layout, whose buckets are cut for as many ranks, must outlive this.
    BucketSlices(const Lanes& lanes, int rank, const GradientLayout& layout);

    int rank() const { return rank_; }
    int ranks() const { return static_cast<int>(subtrees_of_.size()); }
    std::size_t buckets() const { return layout_.buckets.size(); }
    const GradientLayout::Bucket& bucket(std::size_t bucket) const { return layout_.buckets[bucket]; }
    std::int64_t width(std::size_t bucket) const {
        return layout_.buckets[bucket].end - layout_.buckets[bucket].begin;
    }
    /// The slice that a rank sums: [offset(bucket, rank), offset(bucket, rank + 1)), counted from the
    /// bucket's begin.
    std::int64_t offset(std::size_t bucket, int rank) const;
    std::int64_t own_count(std::size_t bucket) const {
        return offset(bucket, rank_ + 1) - offset(bucket, rank_);
    }
    /// Sums that a rank holds of its own lanes.
    int own_subtrees() const { return subtrees_of_[static_cast<std::size_t>(rank_)]; }
    /// Elements to receive the others' sums of this rank's slice in, one after the other, each aligned.
    std::int64_t staging_elements(std::size_t bucket) const;
    const std::vector<Merge>& merges() const { return merges_; }

    /// `sums`: where the bucket begins in each of this rank's subtree sums.
    std::vector<Outgoing> outgoing(std::size_t bucket, std::span<const std::byte* const> sums) const;
    std::vector<Incoming> incoming(std::size_t bucket, std::byte* staging) const;
    /// What the tree adds up to this rank's slice, in the order of lanes: the others' from staging, its own
    /// where they lie.
    std::vector<float*> operands(std::size_t bucket, std::span<float* const> sums, float* staging) const;
    /// Every rank's slice of a bucket that begins at `result`.
    std::vector<std::span<std::byte>> slices(std::size_t bucket, std::byte* result) const;
    /// Bytes of the messages that this rank sends to spread its slice.
    std::int64_t gather_bytes(std::size_t bucket) const;
    /// What a ring's all-reduce sends.
    std::int64_t ring_bytes(std::size_t bucket) const;

  private:
    std::int64_t stride(std::size_t bucket) const;

    const GradientLayout& layout_;
    int rank_;
    std::vector<int> subtrees_of_;  // by rank
    int foreign_subtrees_ = 0;
    std::vector<Merge> merges_;
};

}  // namespace skein
