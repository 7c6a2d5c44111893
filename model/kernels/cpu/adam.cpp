#include "model/kernels/adam.h"

#include <cmath>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"

namespace skein::kernels {

void adam(CpuStream& stream, const AdamArgs& args) {
    constexpr std::int64_t kBlock = 1 << 14;
    const float step = args.rate / args.correction1;
    const float inverse_correction2 = 1.0f / args.correction2;
    const float keep = 1.0f - args.rate * args.decoupled_decay;
    parallel_blocks(stream.threads, args.count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        float* __restrict__ p = args.parameter;
        float* __restrict__ m = args.moment1;
        float* __restrict__ v = args.moment2;
        const float* __restrict__ gradient = args.gradient;
        for (std::int64_t i = begin; i < end; ++i) {
            const float g = gradient[i] * args.gradient_scale + args.coupled_decay * p[i];
            m[i] = args.beta1 * m[i] + (1.0f - args.beta1) * g;
            v[i] = args.beta2 * v[i] + (1.0f - args.beta2) * g * g;
            p[i] = keep * p[i] - step * m[i] / (std::sqrt(v[i] * inverse_correction2) + args.epsilon);
        }
        if (args.copy) narrow(p + begin, args.copy + begin, end - begin);
    });
}

}  // namespace skein::kernels
