#include "parallel/tree_sum.h"

#include "model/base/parallel_for.h"

namespace skein {
namespace {

// Elements that are taken through the whole tree at a time, to stay in the cache.
constexpr std::int64_t kBlock = 1 << 12;

}  // namespace

void sum_along_tree(CpuStream& stream, std::span<const Merge> merges, std::span<float* const> operands,
                    float* result, std::int64_t count) {
    parallel_blocks(stream.threads, count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        for (const Merge& merge : merges) {
            float* left = operands[static_cast<std::size_t>(merge.left)];
            const float* right = operands[static_cast<std::size_t>(merge.right)];
            float* target = &merge == &merges.back() ? result : left;
            for (std::int64_t i = begin; i < end; ++i) target[i] = left[i] + right[i];
        }
    });
}

}  // namespace skein
