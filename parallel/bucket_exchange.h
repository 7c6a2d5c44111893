#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"
#include "parallel/gradient_layout.h"
#include "parallel/lanes.h"

namespace skein {

/// One order of calls for each phase of a bucket: when a phase begins differs from rank to rank.
struct ExchangeGroups {
    /// Collective. To be made before anything that may fail on one rank only, or the others wait for it here.
    explicit ExchangeGroups(Communicator& data) : scatter(data.duplicate()), gather(data.duplicate()) {}

    std::unique_ptr<Communicator> scatter, gather;
};

/// Sends buckets of gradients on their way and sums them over the data-parallel ranks. A bucket goes out as
/// slices of this rank's subtree sums to the ranks that own the slices; each adds up its slice along the tree
/// and sends the sum to all. Buckets leave in order, several at a time; nothing moves but in poll and finish.
class BucketExchange {
  public:
    /// `buffers`: this rank's subtree sums, from left to right, laid out by `layout`; the first receives the
    /// result. Layout and buffers must outlive this.
    BucketExchange(ExchangeGroups groups, Stream& stream, const Lanes& lanes, const GradientLayout& layout,
                   const std::vector<Tensor>& buffers, GradientReduction reduction);
    BucketExchange(const BucketExchange&) = delete;
    BucketExchange& operator=(const BucketExchange&) = delete;

    /// Forgets the last step. Throws Error when it is not over.
    void reset();
    /// This rank's sums of the bucket are final.
    void mark_full(int bucket) { full_[static_cast<std::size_t>(bucket)] = true; }
    /// Starts what can start and moves on what is under way, without blocking. Throws MpiError.
    void poll();
    /// Returns when every bucket's result is in the first buffer. Throws Error when one is not full, and
    /// MpiError.
    void finish();

    /// Bytes that left this rank in messages which are done, since reset. A fast all-reduce counts as a
    /// ring's.
    std::int64_t bytes_sent() const { return bytes_sent_; }
    /// The most that is held, from the stream's pool, to receive the others' sums in.
    std::size_t staging_bytes() const;

  private:
    struct Scatter {
        std::size_t bucket = 0;
        Tensor staging;  // [subtrees of others, stride]
        Pending pending;
        std::int64_t bytes = 0;
        bool done = false;
    };
    struct Gather {
        Pending pending;
        std::int64_t bytes = 0;
        bool done = false;
    };

    bool over() const { return next_ == layout_.buckets.size() && scatters_.empty() && gathers_.empty(); }
    std::int64_t begin_of(std::size_t bucket, int rank) const;
    std::int64_t own_count(std::size_t bucket) const;
    std::int64_t staging_elements(std::size_t bucket) const;
    void start(std::size_t bucket);
    void start_gather(std::size_t bucket);
    void sum_slice(const Scatter& scatter) const;

    ExchangeGroups groups_;
    Stream& stream_;
    const GradientLayout& layout_;
    const std::vector<Tensor>& buffers_;
    GradientReduction reduction_;
    int rank_, ranks_;
    std::vector<int> subtrees_of_;  // by rank
    int foreign_subtrees_ = 0;
    std::vector<Merge> merges_;

    std::vector<char> full_;
    std::size_t next_ = 0;  // the next bucket to leave
    std::deque<Scatter> scatters_;
    std::deque<Gather> gathers_;
    std::int64_t bytes_sent_ = 0;
};

}  // namespace skein
