#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <variant>

#include "model/tensor/pool.h"

namespace skein {

enum class Device { cpu };

/// Work on the CPU: done when the call returns, on up to `threads` threads. Kernels are overloads on the
/// stream's type.
struct CpuStream {
    int threads = 1;
    Pool* pool = nullptr;
};

/// Where work happens and in which order: an explicit argument, never a global. Owns the pool of its device,
/// so it must outlive every tensor that was made on it. Neither copied nor moved: others keep its address.
class Stream {
  public:
    /// A stream on the CPU whose kernels use up to `threads` threads.
    explicit Stream(int threads)
        : pool_(std::make_unique<Pool>()), device_stream_(CpuStream{threads, pool_.get()}) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    /// The one place where dispatch happens: calls f with the device's own stream type.
    template <class F>
    decltype(auto) run(F&& f) {
        return std::visit(std::forward<F>(f), device_stream_);
    }
    Device device() const { return Device::cpu; }
    Pool& pool() { return *pool_; }

  private:
    std::unique_ptr<Pool> pool_;
    std::variant<CpuStream> device_stream_;
};

}  // namespace skein
