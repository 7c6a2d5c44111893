#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"
#include "parallel/bucket_route.h"
#include "parallel/bucket_slices.h"
#include "parallel/gradient_layout.h"
#include "parallel/lanes.h"

namespace skein {

/// The communicators that buckets travel by: one that moves a GPU's memory is used itself, and must outlive
/// this; of one that moves the host's there are two copies, one for each phase of a bucket.
struct ExchangeGroups {
    /// Collective. To be made before anything that may fail on one rank only, or the others wait for it here.
    explicit ExchangeGroups(Communicator& data) : rank(data.rank()), ranks(data.size()) {
        if (data.stream()) {
            queued = &data;
        } else {
            scatter = data.duplicate();
            gather = data.duplicate();
        }
    }

    int rank, ranks;
    std::unique_ptr<Communicator> scatter, gather;
    Communicator* queued = nullptr;
};

/// Sends buckets of gradients on their way and sums them over the data-parallel ranks. A bucket goes out as
/// slices of this rank's subtree sums to the ranks that own the slices; each adds up its slice along the tree
/// and sends the sum to all, or keeps it until it has updated it. Buckets leave in order; on the host's
/// memory nothing moves but in poll, finish and await_spread.
class BucketExchange {
  public:
    /// `buffers`: this rank's subtree sums, from left to right, on the stream's device, laid out by `layout`;
    /// the first receives the result. Layout, buffers and stream must outlive this.
    BucketExchange(ExchangeGroups groups, Stream& stream, const Lanes& lanes, const GradientLayout& layout,
                   const std::vector<Tensor>& buffers, GradientReduction reduction, SumsGoTo sums_go_to);
    BucketExchange(const BucketExchange&) = delete;
    BucketExchange& operator=(const BucketExchange&) = delete;

    /// Forgets the last step. Throws Error when it is not over.
    void reset();
    /// This rank's sums of the bucket are final, once what is queued on the stream by now is done.
    void mark_full(int bucket) { full_[static_cast<std::size_t>(bucket)] = true; }
    /// Starts what can start and moves on what is under way, without blocking. Throws MpiError, CudaError.
    void poll();
    /// What is queued on the stream from now on finds every bucket's result in the first buffer. Where the
    /// host moves the messages it returns when they have arrived; otherwise when the step before this one is
    /// over. Throws Error when a bucket is not full, and MpiError, CudaError.
    void finish();
    /// Behind finish, where sums go to their owners: this rank's slices of the buckets before `end` are
    /// updated in the first buffer, once what is queued on the stream by now is done, and are to go to all.
    /// poll starts them.
    void mark_updated(std::size_t end) { updated_ = end; }
    /// What is queued on the stream from now on finds all ranks' slices of the buckets before `end`, which
    /// are marked as updated. Throws MpiError, CudaError.
    void await_spread(std::size_t end);
    /// The last bucket's spreading, for the host to ask whether it is over. To be called once a step.
    Pending last_spread() { return route_->last_spread(); }

    /// Bytes that left this rank in messages which are done, since reset; where the host does not see to the
    /// messages, in those that are queued. A fast all-reduce counts as a ring's.
    std::int64_t bytes_sent() const { return route_->bytes_sent(); }
    /// The most that is held, from the stream's pool, to receive the others' sums in.
    std::size_t staging_bytes() const { return route_->staging_bytes(); }

  private:
    BucketSlices slices_;
    std::unique_ptr<BucketRoute> route_;
    std::vector<char> full_;
    std::size_t next_ = 0;  // the next bucket to leave
    std::size_t updated_ = 0, next_spread_ = 0;
};

}  // namespace skein
