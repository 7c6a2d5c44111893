#pragma once

#include <memory>

namespace skein {

/// Work on one GPU, in the order in which it is queued; calls return before it is done. Kernels are overloads
/// on the stream's type, as those of CpuStream are.
struct CudaStream {
    void* handle = nullptr;  ///< a cudaStream_t, borrowed; null is the default stream
    /// fp32 matrix products may round their operands to TF32.
    bool tf32 = false;
    /// What the library of matrix products keeps for this stream; made by the first product.
    std::shared_ptr<void> matmul_library;
};

}  // namespace skein
