#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/gradient_layout.h"

namespace skein {

/// A run of elements of this rank's part of a parameter, row-major. Begins on a block (kernels::kNormBlock).
struct ParameterRun {
    std::size_t parameter = 0;
    std::int64_t begin = 0, count = 0;
    friend bool operator==(const ParameterRun&, const ParameterRun&) = default;
};

/// What of the parameters each data-parallel rank updates with a sharded optimizer: what lies in its slices
/// of the buckets.
struct ShardPlan {
    /// Buckets that are updated at once, and then spread.
    struct Group {
        std::size_t buckets = 0;          ///< those before and in it
        std::size_t own = 0, others = 0;  ///< the runs before and in it
    };

    /// `counts`: elements of this rank's part of each parameter, at most those of the layout, which is cut on
    /// blocks. A group is closed when this rank's runs in it have `blocks_of_a_group` blocks.
    ShardPlan(const GradientLayout& layout, std::span<const std::int64_t> counts, int rank,
              std::int64_t blocks_of_a_group = 64);

    std::vector<ParameterRun> own, others;  ///< as they lie: this rank's, and all the others'
    std::vector<Group> groups;
    /// All ranks' blocks, by rank and as they lie: those of rank r are [first_block[r], first_block[r + 1]).
    std::vector<std::int64_t> first_block;
    /// By parameter, in order of creation, and block: its place among them.
    std::vector<std::int32_t> places;
};

}  // namespace skein
