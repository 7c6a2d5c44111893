#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "model/kernels/attention.h"
#include "model/tensor/cuda_stream.h"

namespace skein::test {

/// cuDNN's attention, forward, as a composite graph: matmul, pointwise (scale, causal mask, softmax) and
/// reduction, which one fused kernel runs. The native attention descriptors of 9.19 have no causal attribute.
/// log_sum_exp is wanted: without it cuDNN 9.19 takes the graph for no attention. Key-value groups, lengths,
/// bias, rotation, dropout and offsets are refused with ShapeError.
class CudnnAttention {
  public:
    /// A plan for shapes, strides, scale, causal and dtype (bf16 or fp16) of `args`, with log_sum_exp if it
    /// is not null there. `device`: a GPU as cuDNN writes it in JSON, for a plan without one; empty: GPU 0.
    /// Throws CudaError where cuDNN has no plan.
    explicit CudnnAttention(const kernels::AttentionArgs& args, const std::string& device = {});
    ~CudnnAttention();
    CudnnAttention(const CudnnAttention&) = delete;
    CudnnAttention& operator=(const CudnnAttention&) = delete;

    /// Bytes of device memory that run() works in.
    std::size_t workspace_bytes() const;
    /// Whether cuDNN notes that the kernel it chose may give other bits each time.
    bool is_nondeterministic() const;
    /// Queued, for the operands of `args`. Throws CudaError.
    void run(CudaStream& stream, const kernels::AttentionArgs& args, void* workspace);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// 91900 for 9.19.0, of the library that is loaded.
std::size_t cudnn_version();

}  // namespace skein::test
