#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"
#include "parallel/bucket_route.h"
#include "parallel/bucket_slices.h"

namespace skein {

/// From GPU to GPU: all that a bucket needs is queued on the communicator's own stream when the bucket
/// leaves, and the host waits for nothing. The sums are made there too, between the bucket's messages: so
/// every rank queues the same operations in the same order, whenever it is that the host looks, and one
/// staging place serves all buckets in turn. What is spread is queued there as well, behind the update of
/// that bucket and beside those of the next ones.
class QueuedRoute final : public BucketRoute {
  public:
    /// All must outlive this. Nothing else may use the communicator between the first bucket of a step and
    /// finish.
    QueuedRoute(Communicator& communicator, Stream& stream, const BucketSlices& slices,
                const std::vector<Tensor>& sums, GradientReduction reduction, SumsGoTo sums_go_to);
    ~QueuedRoute() override;

    bool has_room() const override { return true; }
    void start(std::size_t bucket) override;
    void poll() override;
    bool over() const override { return true; }
    void finish() override;
    bool has_room_to_spread() const override { return true; }
    void spread(std::size_t bucket) override;
    bool is_spread(std::size_t bucket) override;
    Pending last_spread() override;
    std::int64_t bytes_sent() const override { return bytes_sent_; }
    void forget() override;
    std::size_t staging_bytes() const override { return staging_.bytes(); }

  private:
    Pending gather(std::size_t bucket);

    Communicator& communicator_;
    const BucketSlices& slices_;
    const std::vector<Tensor>& buffers_;
    GradientReduction reduction_;
    SumsGoTo sums_go_to_;
    Tensor staging_;
    Pending last_;                  // of this step's operations
    std::deque<Pending> steps_;     // the last operation of each that is finished and may not be over
    std::vector<Pending> spreads_;  // of this step's buckets, in order
    std::size_t awaited_ = 0;       // how many of them the stream waits for
    std::int64_t bytes_sent_ = 0;   // counted when queued
};

}  // namespace skein
