#include "model/kernels/elementwise.h"

#include <cstring>

#include "model/base/parallel_for.h"

namespace skein::kernels {
namespace {

constexpr std::int64_t kBlock = 1 << 14;

}  // namespace

void copy_or_add(CpuStream& stream, const float* source, float* target, std::int64_t count, bool accumulate) {
    parallel_blocks(stream.threads, count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        if (accumulate) {
            for (std::int64_t i = begin; i < end; ++i) target[i] += source[i];
        } else {
            std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
        }
    });
}

}  // namespace skein::kernels
