#include "parallel/tree_sum.h"

#include "model/kernels/elementwise.h"
#include "model/tensor/cuda_stream.h"

namespace skein {

void sum_along_tree(CudaStream& stream, std::span<const Merge> merges, std::span<float* const> operands,
                    float* result, std::int64_t count) {
    if (count == 0) return;
    for (const Merge& merge : merges) {
        float* left = operands[static_cast<std::size_t>(merge.left)];
        const float* right = operands[static_cast<std::size_t>(merge.right)];
        kernels::add(stream, left, right, &merge == &merges.back() ? result : left, count);
    }
}

}  // namespace skein
