#pragma once

#include <cstddef>
#include <cstdint>

namespace skein {

/// How buckets travel from when they are full until their sums are there.
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

    /// Since the last call of forget.
    virtual std::int64_t bytes_sent() const = 0;
    virtual void forget() = 0;
    /// See BucketExchange.
    virtual std::size_t staging_bytes() const = 0;
};

}  // namespace skein
