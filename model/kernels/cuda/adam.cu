#include "model/kernels/cuda/adam.h"

#include <cmath>

#include "model/kernels/cuda/square_sum.cuh"

namespace skein::kernels::cuda {

inline constexpr int kAdamThreads = 512, kDecideThreads = 256;

__device__ inline bool is_aligned(const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

template <class T>
__global__ void __launch_bounds__(kAdamThreads)
    gradient_square_sums_kernel(const AdamTensor<T>* tensors, const TensorBlock* blocks, double* sums) {
    const TensorBlock block = blocks[block_index()];
    const AdamTensor<T>& tensor = tensors[block.tensor];
    const std::int64_t begin = block.block * kNormBlock;
    const double total =
        square_sum(tensor.gradient + begin, std::min(std::int64_t{kNormBlock}, tensor.count - begin),
                   is_aligned(tensor.gradient));
    if (thread_index() == 0) sums[block_index()] = total;
}

/// One block: reads the sums together, adds them one by one.
__global__ void __launch_bounds__(kDecideThreads)
    decide_step_kernel(const double* sums, std::int64_t count, const double* loss, double clip,
                       StepDecision* decision) {
    SKEIN_SHARED(double, some, kDecideThreads);
    double total = 0.0;
    for (std::int64_t begin = 0; begin < count; begin += kDecideThreads) {
        if (begin + thread_index() < count) some[thread_index()] = sums[begin + thread_index()];
        sync_threads();
        if (thread_index() == 0)
            for (std::int64_t i = 0; i < std::min<std::int64_t>(kDecideThreads, count - begin); ++i)
                total += some[i];
        sync_threads();
    }
    if (thread_index() != 0) return;
    const double norm = sqrt(total);
    const bool finite = norm - norm == 0.0 && (!loss || *loss - *loss == 0.0);
    decision->norm = norm;
    decision->gradient_scale = static_cast<float>(finite && clip > 0.0 && norm > clip ? clip / norm : 1.0);
    decision->skipped = finite ? 0 : 1;
}

template <class T>
__global__ void __launch_bounds__(kAdamThreads) adam_kernel(AdamArgs<T> args) {
    if (args.decision->skipped != 0) return;
    const float gradient_scale = args.decision->gradient_scale;
    const TensorBlock block = args.blocks[block_index()];
    const AdamTensor<T> tensor = args.tensors[block.tensor];
    const bool aligned = is_aligned(tensor.parameter) && is_aligned(tensor.gradient) &&
                         is_aligned(tensor.moment1) && is_aligned(tensor.moment2) &&
                         is_aligned(tensor.working);
    const float step = args.rate / args.correction1;
    const float inverse_correction2 = 1.0f / args.correction2;
    const float keep = 1.0f - args.rate * tensor.decoupled_decay;
    const std::int64_t begin = block.block * kNormBlock, end = std::min(tensor.count, begin + kNormBlock);
    for (std::int64_t at = begin + thread_index() * std::int64_t{8}; at < end; at += kAdamThreads * 8) {
        const std::int64_t left = end - at;
        const Eight gradient = load_eight(tensor.gradient + at, left, aligned);
        Eight p = load_eight(tensor.parameter + at, left, aligned);
        Eight m = load_eight(tensor.moment1 + at, left, aligned),
              v = load_eight(tensor.moment2 + at, left, aligned);
        for (int i = 0; i < 8; ++i) {
            const float g = gradient.v[i] * gradient_scale + tensor.coupled_decay * p.v[i];
            m.v[i] = args.beta1 * m.v[i] + (1.0f - args.beta1) * g;
            v.v[i] = args.beta2 * v.v[i] + (1.0f - args.beta2) * g * g;
            p.v[i] = keep * p.v[i] - step * m.v[i] / (sqrtf(v.v[i] * inverse_correction2) + args.epsilon);
        }
        store_eight(tensor.parameter + at, p, left, aligned);
        store_eight(tensor.moment1 + at, m, left, aligned);
        store_eight(tensor.moment2 + at, v, left, aligned);
        if (tensor.working) store_eight(tensor.working + at, p, left, aligned);
    }
}

std::vector<TensorBlock> blocks_of_tensors(const std::vector<std::int64_t>& counts) {
    std::vector<TensorBlock> blocks;
    for (std::size_t tensor = 0; tensor < counts.size(); ++tensor)
        for (std::int64_t block = 0; block < divide_up(counts[tensor], kNormBlock); ++block)
            blocks.push_back({static_cast<std::int32_t>(tensor), static_cast<std::int32_t>(block)});
    return blocks;
}

template <class T>
void gradient_square_sums(CudaStream& stream, const AdamTensor<T>* tensors, const TensorBlock* blocks,
                          std::int64_t block_count, double* sums) {
    launch<gradient_square_sums_kernel<T>>({block_count, 1}, kAdamThreads, stream, tensors, blocks, sums);
}

void decide_step(CudaStream& stream, const double* sums, std::int64_t count, const double* loss, double clip,
                 StepDecision* decision) {
    launch<decide_step_kernel>({1, 1}, kDecideThreads, stream, sums, count, loss, clip, decision);
}

template <class T>
void adam(CudaStream& stream, const AdamArgs<T>& args) {
    launch<adam_kernel<T>>({args.block_count, 1}, kAdamThreads, stream, args);
}

#define SKEIN_ADAM(T)                                                                                       \
    template void gradient_square_sums(CudaStream&, const AdamTensor<T>*, const TensorBlock*, std::int64_t, \
                                       double*);                                                            \
    template void adam(CudaStream&, const AdamArgs<T>&);
SKEIN_ADAM(float)
SKEIN_ADAM(Bf16)
SKEIN_ADAM(F16)
#undef SKEIN_ADAM

}  // namespace skein::kernels::cuda
