#pragma once

#include <memory>

namespace skein {

class Pool;

/// Work on one GPU, in the order in which it is queued; calls return before it is done. Kernels are overloads
/// on the stream's type, as those of CpuStream are. Memory that a kernel reads or writes may be given back to
/// the stream's pool as soon as the kernel is queued: who gets it next is queued behind.
struct CudaStream {
    void* handle = nullptr;  ///< a cudaStream_t, borrowed; null is the default stream
    Pool* pool = nullptr;    ///< the GPU's memory
    /// fp32 matrix products may round their operands to TF32.
    bool tf32 = false;
    /// Copies from the host that are under way.
    std::shared_ptr<class Uploads> uploads;
    /// What the library of matrix products keeps for this stream; made by the first product.
    std::shared_ptr<void> matmul_library;
};

}  // namespace skein
