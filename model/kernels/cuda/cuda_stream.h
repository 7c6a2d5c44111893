#pragma once

namespace skein {

/// Work on one GPU, in the order in which it is queued; calls return before it is done. Kernels are overloads
/// on the stream's type, as those of CpuStream are.
struct CudaStream {
    void* handle = nullptr;  ///< a cudaStream_t, borrowed; null is the default stream
};

}  // namespace skein
