#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace skein {

/// Where each parameter's gradient lies in a flat fp32 buffer, and how the buffer is cut into buckets.
/// Parameters lie in reverse order of creation, which is about the order in which backward finishes them.
struct GradientLayout {
    /// Elements that a slice of any kind is aligned to: 64 bytes.
    static constexpr std::int64_t kAlignment = 16;

    struct Slice {
        std::int64_t begin = 0, count = 0;       ///< elements
        int first_bucket = 0, last_bucket = -1;  ///< the buckets it lies in; none when count is 0
    };
    struct Bucket {
        std::int64_t begin = 0, end = 0;  ///< elements
        int parameters = 0;               ///< how many of them lie in it
    };

    /// `counts`: elements of each parameter, in order of creation. Buckets are cut between parameters; a
    /// parameter longer than `bucket_elements` gets buckets of its own.
    GradientLayout(std::span<const std::int64_t> counts, std::int64_t bucket_elements);

    /// The part of a bucket that rank r of R sums: r/R of it on, aligned.
    static std::int64_t slice_begin(const Bucket& bucket, int ranks, int rank);

    std::vector<Slice> slices;       ///< by parameter, in order of creation
    std::vector<std::size_t> order;  ///< parameters as they lie
    std::vector<Bucket> buckets;
    std::int64_t elements = 0;
};

}  // namespace skein
