#include "parallel/lanes.h"

#include <bit>

#include "model/base/error.h"

namespace skein {
namespace {

bool siblings(const Subtree& left, const Subtree& right) {
    const int width = 1 << left.level;
    return left.level == right.level && left.begin % (2 * width) == 0 && right.begin == left.begin + width;
}

}  // namespace

Lanes::Lanes(int count, int ranks) : count_(count), ranks_(ranks) {
    if (count < 1 || !std::has_single_bit(static_cast<unsigned>(count)))
        throw ConfigError(text("--parallel.lanes is ", count, ", wanted a power of two (1, 2, 4, 8, ...)"));
    if (ranks > count)
        throw ConfigError(text("--parallel.lanes is ", count, ", fewer than the ", ranks,
                               " data-parallel ranks; give --parallel.lanes ",
                               std::bit_ceil(static_cast<unsigned>(ranks))));
}

LaneRange Lanes::of_rank(int rank) const {
    return {rank * count_ / ranks_, (rank + 1) * count_ / ranks_};
}

SampleRange Lanes::samples(int lane, std::int64_t n) const {
    return {lane * n / count_, (lane + 1) * n / count_};
}

std::vector<Subtree> Lanes::subtrees(LaneRange range) {
    std::vector<Subtree> stack;
    for (int lane = range.begin; lane < range.end; ++lane) {
        stack.push_back({lane, 0});
        while (stack.size() >= 2 && siblings(stack[stack.size() - 2], stack.back())) {
            stack.pop_back();
            ++stack.back().level;
        }
    }
    return stack;
}

std::vector<Subtree> Lanes::all_subtrees() const {
    std::vector<Subtree> all;
    for (int rank = 0; rank < ranks_; ++rank)
        for (const Subtree& subtree : subtrees(of_rank(rank))) all.push_back(subtree);
    return all;
}

std::vector<Merge> Lanes::merges() const {
    struct Operand {
        Subtree subtree;
        int index;
    };
    std::vector<Merge> merges;
    std::vector<Operand> stack;
    int index = 0;
    for (const Subtree& subtree : all_subtrees()) {
        stack.push_back({subtree, index++});
        while (stack.size() >= 2 && siblings(stack[stack.size() - 2].subtree, stack.back().subtree)) {
            merges.push_back({stack[stack.size() - 2].index, stack.back().index});
            stack.pop_back();
            ++stack.back().subtree.level;
        }
    }
    return merges;
}

}  // namespace skein
