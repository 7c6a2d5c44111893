#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace skein {

/// How a bucket is shared out to the data-parallel ranks.
struct BucketCuts {
    int ranks = 1;
    /// Cuts fall on the boundaries of blocks of kernels::kNormBlock elements, counted from each parameter's
    /// element 0, and buckets hold at least four blocks a rank where there are so many; if not, anywhere that
    /// is aligned.
    bool on_blocks = false;
};

/// Where each parameter's gradient lies in a flat fp32 buffer, how the buffer is cut into buckets, and these
/// into the slices that ranks sum. Parameters lie in reverse order of creation, which is about the order in
/// which backward finishes them.
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
        /// Rank r sums [cuts[r], cuts[r + 1]), about its share: from `begin` on to `end`.
        std::vector<std::int64_t> cuts;
    };

    /// `counts`: elements of each parameter, in order of creation. Buckets are cut between parameters; a
    /// parameter longer than `bucket_elements` gets buckets of its own.
    GradientLayout(std::span<const std::int64_t> counts, std::int64_t bucket_elements, BucketCuts cuts = {});

    std::vector<Slice> slices;       ///< by parameter, in order of creation
    std::vector<std::size_t> order;  ///< parameters as they lie
    std::vector<Bucket> buckets;
    std::int64_t elements = 0;

  private:
    void cut(const BucketCuts& cuts);
};

}  // namespace skein
