#include "model/kernels/update.h"

#include <cmath>

#include "model/kernels/cuda/square_sum.cuh"

namespace skein::kernels {
namespace cuda {

inline constexpr int kUpdateThreads = 512, kAdamThreads = 256, kEndThreads = 256;

__device__ inline bool is_aligned(const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

__global__ void __launch_bounds__(kUpdateThreads) gradient_square_sums_kernel(AdamList list, double* sums) {
    const TensorBlock block = list.blocks[block_index()];
    const AdamTensor& tensor = list.tensors[block.tensor];
    const std::int64_t begin = block.block * kNormBlock;
    const double total =
        square_sum(tensor.gradient + begin, std::min(std::int64_t{kNormBlock}, tensor.count - begin),
                   is_aligned(tensor.gradient));
    if (thread_index() == 0) sums[block_index()] = total;
}

/// Σ values in order, in thread 0: the block reads them together, thread 0 adds them one by one.
__device__ inline double sum_in_order(const double* values, std::int64_t count) {
    SKEIN_SHARED(double, some, kEndThreads);
    double total = 0.0;
    for (std::int64_t begin = 0; begin < count; begin += kEndThreads) {
        sync_threads();  // the one that adds is through with what was there
        if (begin + thread_index() < count) some[thread_index()] = values[begin + thread_index()];
        sync_threads();
        if (thread_index() != 0) continue;
        const std::int64_t here = std::min<std::int64_t>(kEndThreads, count - begin);
        for (std::int64_t i = 0; i < here; ++i) total += some[i];
    }
    return total;
}

/// One block.
__global__ void __launch_bounds__(kEndThreads) end_step_kernel(EndStepArgs args) {
    const double loss = sum_in_order(args.losses, args.samples);
    const double squares = sum_in_order(args.square_sums, args.blocks);
    if (thread_index() != 0) return;
    *args.end = decide(args, *args.state, loss, sqrt(squares));
    *args.state = args.end->after;
}

/// Three blocks a multiprocessor: its registers would allow 512 threads as one block, and 768 as three.
template <class T>
__global__ void __launch_bounds__(kAdamThreads, 3) adam_kernel(AdamArgs args) {
    if (args.end->skipped != 0) return;
    const float gradient_scale = args.end->gradient_scale, rate = args.end->rate;
    const float step = rate / args.end->correction1;
    const float inverse_correction2 = 1.0f / args.end->correction2;
    const TensorBlock block = args.list.blocks[block_index()];
    const AdamTensor tensor = args.list.tensors[block.tensor];
    T* copy = static_cast<T*>(tensor.copy);
    const bool aligned = is_aligned(tensor.parameter) && is_aligned(tensor.gradient) &&
                         is_aligned(tensor.moment1) && is_aligned(tensor.moment2) && is_aligned(copy) &&
                         is_aligned(tensor.sent);
    const float keep = 1.0f - rate * tensor.decoupled_decay;
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
        if (copy) store_eight(copy + at, p, left, aligned);
        if (tensor.sent) store_eight(tensor.sent + at, p, left, aligned);  // may be the gradient, read above
    }
}

template <class T>
__global__ void __launch_bounds__(kUpdateThreads) take_parameters_kernel(TakeArgs args) {
    if (args.end->skipped != 0) return;
    const TensorBlock block = args.list.blocks[block_index()];
    const AdamTensor tensor = args.list.tensors[block.tensor];
    T* copy = static_cast<T*>(tensor.copy);
    const bool aligned = is_aligned(tensor.parameter) && is_aligned(tensor.gradient) && is_aligned(copy);
    const std::int64_t begin = block.block * kNormBlock, end = std::min(tensor.count, begin + kNormBlock);
    for (std::int64_t at = begin + thread_index() * std::int64_t{8}; at < end; at += kUpdateThreads * 8) {
        const Eight p = load_eight(tensor.gradient + at, end - at, aligned);
        if (tensor.parameter) store_eight(tensor.parameter + at, p, end - at, aligned);
        if (copy) store_eight(copy + at, p, end - at, aligned);
    }
}

}  // namespace cuda

void gradient_square_sums(CudaStream& stream, const AdamList& list, double* sums) {
    cuda::launch<cuda::gradient_square_sums_kernel>({list.block_count, 1}, cuda::kUpdateThreads, stream, list,
                                                    sums);
}

void end_step(CudaStream& stream, const EndStepArgs& args) {
    cuda::launch<cuda::end_step_kernel>({1, 1}, cuda::kEndThreads, stream, args);
}

void adam(CudaStream& stream, const AdamArgs& args) {
    const cuda::Grid blocks{args.list.block_count, 1};
    switch (args.list.copies) {
        case DType::bf16:
            return cuda::launch<cuda::adam_kernel<Bf16>>(blocks, cuda::kAdamThreads, stream, args);
        case DType::f16:
            return cuda::launch<cuda::adam_kernel<F16>>(blocks, cuda::kAdamThreads, stream, args);
        default:
            return cuda::launch<cuda::adam_kernel<float>>(blocks, cuda::kAdamThreads, stream, args);
    }
}

void take_parameters(CudaStream& stream, const TakeArgs& args) {
    const cuda::Grid blocks{args.list.block_count, 1};
    switch (args.list.copies) {
        case DType::bf16:
            return cuda::launch<cuda::take_parameters_kernel<Bf16>>(blocks, cuda::kUpdateThreads, stream,
                                                                    args);
        case DType::f16:
            return cuda::launch<cuda::take_parameters_kernel<F16>>(blocks, cuda::kUpdateThreads, stream,
                                                                   args);
        default:
            return cuda::launch<cuda::take_parameters_kernel<float>>(blocks, cuda::kUpdateThreads, stream,
                                                                     args);
    }
}

}  // namespace skein::kernels
