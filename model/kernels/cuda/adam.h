#pragma once

#include <cstdint>
#include <vector>

#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// One tensor of the list that is updated in one launch; the list lies in the device's memory. All of
/// [count], each aligned to 16 bytes or the tensor is worked on element by element.
template <class T>
struct AdamTensor {
    std::int64_t count = 0;
    float* parameter = nullptr;  ///< the master copy
    const float* gradient = nullptr;
    float* moment1 = nullptr;
    float* moment2 = nullptr;
    T* working = nullptr;  ///< the parameter rounded to T, which forward reads; null: there is none
    float coupled_decay = 0.0f, decoupled_decay = 0.0f;
};

/// A block of kNormBlock elements, counted from a tensor's element 0: what one block of threads works on.
struct TensorBlock {
    std::int32_t tensor = 0, block = 0;
};
/// The blocks of tensors of these sizes, in order: that in which their sums of squares are added.
std::vector<TensorBlock> blocks_of_tensors(const std::vector<std::int64_t>& counts);

/// sums[i]: the squares of the gradient's elements in blocks[i], in fp64. blocks: [block_count], on the
/// device.
template <class T>
void gradient_square_sums(CudaStream& stream, const AdamTensor<T>* tensors, const TensorBlock* blocks,
                          std::int64_t block_count, double* sums);

/// What becomes of a step: as trainer/training_step has it, decided without the host.
struct StepDecision {
    double norm = 0.0;            ///< of all gradients
    float gradient_scale = 1.0f;  ///< the clip factor: clip / norm where norm > clip > 0, otherwise 1
    std::int32_t skipped = 0;     ///< 1 where loss or norm is not finite: nothing is updated
};
/// Adds sums[0] ... sums[count - 1] in order. loss: one value, or null. All pointers are to the device's
/// memory.
void decide_step(CudaStream& stream, const double* sums, std::int64_t count, const double* loss, double clip,
                 StepDecision* decision);

/// kernels::adam on every tensor of the list, by the same operations; nothing where the decision is to skip.
template <class T>
struct AdamArgs {
    const AdamTensor<T>* tensors = nullptr;
    const TensorBlock* blocks = nullptr;
    std::int64_t block_count = 0;
    const StepDecision* decision = nullptr;
    float rate = 0.0f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
    float correction1 = 1.0f, correction2 = 1.0f;
};
template <class T>
void adam(CudaStream& stream, const AdamArgs<T>& args);

}  // namespace skein::kernels::cuda
