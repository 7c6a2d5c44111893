#include "model/kernels/initial_values.h"

#include <cmath>

#include "model/base/normal.h"
#include "model/base/parallel_for.h"

namespace skein::kernels {
namespace {

double value_at(const InitialValuesArgs& args, std::int64_t index) {
    switch (args.kind) {
        case InitialKind::kOnes:
            return 1.0;
        case InitialKind::kNormal: {
            const NormalParts parts = normal_parts_at(args.key, index);
            return args.scale * (std::sqrt(parts.radius_square) * parts.direction);
        }
        case InitialKind::kUniform:
            return args.scale * (2.0 * uniform_at(args.key, index) - 1.0);
        default:
            return 0.0;
    }
}

}  // namespace

void fill_initial_values(CpuStream& stream, const InitialValuesArgs& args) {
    constexpr std::int64_t kBlock = 1 << 16;
    parallel_blocks(stream.threads, args.count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            args.values[i] = static_cast<float>(value_at(args, args.first + i));
    });
}

}  // namespace skein::kernels
