#pragma once

#include <cstddef>
#include <cstdint>

#include "model/tensor/communicator.h"

namespace skein {

/// What of a bucket's sum is where when it has travelled.
enum class SumsGoTo {
    kAll,    ///< every rank has all of it
    kOwner,  ///< each rank has its slice, and after the update spreads what it made of it
};

/// How buckets travel from when they are full until their sums are there, and with SumsGoTo::kOwner once more
/// when they are updated.
class BucketRoute {
  public:
    BucketRoute() = default;
    BucketRoute(const BucketRoute&) = delete;
    BucketRoute& operator=(const BucketRoute&) = delete;
    virtual ~BucketRoute() = default;

    /// Whether one more bucket may leave now.
    virtual bool has_room() const = 0;
    /// The bucket, the next in order, leaves.
    virtual void start(std::size_t bucket) = 0;
    /// Moves on what is under way, without blocking.
    virtual void poll() = 0;
    /// Whether the host has nothing more to do for the buckets that left.
    virtual bool over() const = 0;
    /// Called when all buckets of a step have left and it is over: what is queued on the stream from now on
    /// finds their sums.
    virtual void finish() = 0;

    /// Whether one more bucket may be spread now.
    virtual bool has_room_to_spread() const = 0;
    /// What this rank's slice of the bucket, the next in order, holds in the first buffer goes to all, once
    /// what is queued on the stream by now is done.
    virtual void spread(std::size_t bucket) = 0;
    /// Whether what is queued on the stream from now on finds all ranks' slices of the bucket, which is being
    /// spread.
    virtual bool is_spread(std::size_t bucket) = 0;
    /// The last bucket's spreading, for the host to ask whether it is over. To be called once a step.
    virtual Pending last_spread() = 0;

    /// Since the last call of forget.
    virtual std::int64_t bytes_sent() const = 0;
    virtual void forget() = 0;
    /// See BucketExchange.
    virtual std::size_t staging_bytes() const = 0;
};

}  // namespace skein
