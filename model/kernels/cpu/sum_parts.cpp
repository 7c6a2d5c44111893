#include "model/kernels/sum_parts.h"

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/simd.h"

namespace skein::kernels {

void sum_parts(CpuStream& stream, const SumPartsArgs& args) {
    using namespace simd;
    Fp32Operands fp32(stream);
    const float* others = fp32.read(args.others, args.parts * args.stride).f32();
    const float* own = fp32.read(args.own_part, args.count).f32();
    float* y = fp32.write(args.y, args.count).f32();
    const auto part = [&](int p) { return p == args.own ? own : others + p * args.stride; };
    parallel_blocks(stream.threads, args.count, std::int64_t{1} << 14,
                    [&](std::int64_t begin, std::int64_t end) {
                        for_lanes(end - begin, [&](std::int64_t at, auto lanes) {
                            const std::int64_t i = begin + at;
                            F8 total = load(part(0) + i, lanes);
                            for (int p = 1; p < args.parts; ++p) total += load(part(p) + i, lanes);
                            store(y + i, total, lanes);
                        });
                    });
    fp32.finish();
}

}  // namespace skein::kernels
