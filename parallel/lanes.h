#pragma once

#include <cstdint>
#include <vector>

namespace skein {

/// How gradients are added up.
enum class GradientReduction {
    kLanes,  ///< the fixed tree over lanes: the same bits on any number of ranks
    kFast,   ///< the library's own all-reduce of each rank's plain sum
};

/// [begin, end).
struct LaneRange {
    int begin = 0, end = 0;
    friend bool operator==(const LaneRange&, const LaneRange&) = default;
};

struct SampleRange {
    std::int64_t begin = 0, end = 0;
    friend bool operator==(const SampleRange&, const SampleRange&) = default;
};

/// The lanes [begin, begin + 2^level), summed; begin is a multiple of 2^level.
struct Subtree {
    int begin = 0, level = 0;
    friend bool operator==(const Subtree&, const Subtree&) = default;
};

/// operand[left] += operand[right]; operand[right] is of no more use.
struct Merge {
    int left = 0, right = 0;
};

/// How a batch is cut so that the order in which gradients are added does not depend on the number of ranks:
/// L lanes, summed as the fixed binary tree over 0..L-1, of which each rank owns a contiguous range.
class Lanes {
  public:
    /// Throws ConfigError, naming --parallel.lanes and the value to give it, when `count` is no power of two
    /// or less than the number of data-parallel ranks.
    Lanes(int count, int ranks);

    int count() const { return count_; }
    int ranks() const { return ranks_; }
    /// [r·L/R, (r+1)·L/R): at least one lane.
    LaneRange of_rank(int rank) const;
    /// Of a batch of n samples, lane i takes [i·n/L, (i+1)·n/L); may be empty.
    SampleRange samples(int lane, std::int64_t n) const;

    /// The maximal aligned subtrees that cover a range of lanes, from left to right: what is left after
    /// adding siblings only. Their number is the depth of the stack that sums the range lane by lane.
    static std::vector<Subtree> subtrees(LaneRange range);
    /// All ranks' subtrees, by rank and from left to right, which is the order of lanes.
    std::vector<Subtree> all_subtrees() const;
    /// The merges that make the tree's sum of all_subtrees(), in order; the sum ends in operand 0.
    std::vector<Merge> merges() const;

  private:
    int count_, ranks_;
};

}  // namespace skein
