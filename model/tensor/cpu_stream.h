#pragma once

namespace skein {

class Pool;

/// Work on the CPU: done when the call returns, on up to `threads` threads. Kernels are overloads on the
/// stream's type.
struct CpuStream {
    int threads = 1;
    Pool* pool = nullptr;
};

}  // namespace skein
