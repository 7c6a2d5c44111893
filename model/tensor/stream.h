#pragma once

#include <device_stream.h>  // of this build: model/tensor/cuda or model/tensor/cpu_only, as CMake picks

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "model/tensor/device.h"
#include "model/tensor/pool.h"
#include "model/tensor/work_meter.h"

namespace skein {

struct CudaStream;

/// Asks for a stream of a device, of this build or not, that computes nothing.
struct PlanOnly {
    Device device = Device::cpu;
};

/// Where work happens and in which order: an explicit argument, never a global. Owns the pool of its device,
/// so it must outlive every tensor that was made on it. Neither copied nor moved: others keep its address.
class Stream {
  public:
    /// A stream on the CPU whose kernels use up to `threads` threads.
    explicit Stream(int threads);
    /// A stream on a GPU, or without one on the CPU; on a GPU `threads` are for what the host computes beside
    /// it. Throws CudaError, also for a GPU where the build has no CUDA.
    Stream(const std::optional<Gpu>& gpu, int threads);
    /// A stream to plan on: work that is queued on it is dropped, and the memory of its pools is none, so
    /// that what a computation would take can be read from their statistics without computing it. What lies
    /// on it cannot be read.
    explicit Stream(PlanOnly plan);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();

    /// The one place where dispatch happens: calls f with the device's own stream type. On a stream to plan
    /// on f is dropped; one that returns something throws Error.
    template <class F>
    decltype(auto) run(F&& f) {
        if constexpr (std::is_void_v<decltype(std::visit(std::forward<F>(f), device_stream_))>) {
            if (!plans_) std::visit(std::forward<F>(f), device_stream_);
        } else {
            check_computes();
            return std::visit(std::forward<F>(f), device_stream_);
        }
    }
    /// From now on fp32 matrix products may round their operands to TF32. Throws ConfigError on the CPU,
    /// which has no TF32.
    void allow_tf32();
    /// The same for work that a meter, where one is set, takes the time of.
    template <class F>
    void run(const Work& work, F&& f) {
        if (meter_) meter_->begin(*this, work);
        run(std::forward<F>(f));
        if (meter_) meter_->end(*this);
    }
    /// Null: none, as at first. The meter must outlive its use here.
    void set_meter(WorkMeter* meter) { meter_ = meter; }
    bool plans() const { return plans_; }
    Device device() const { return pool_->device(); }
    const std::optional<Gpu>& gpu() const { return gpu_; }
    /// Threads of the host.
    int threads() const { return threads_; }
    /// The device's memory.
    Pool& pool() { return *pool_; }
    /// The host's memory, which on a GPU's stream is pinned; on the CPU's it is the device's.
    Pool& host_pool() { return host_pool_ ? *host_pool_ : *pool_; }
    /// Where tensors are made of the host's values: on a GPU memory of its own, that they are copied to ahead
    /// of the work that is queued (Tensor::from).
    Pool& input_pool() { return input_pool_ ? *input_pool_ : *pool_; }
    /// Returns when all that was queued is done. Throws CudaError for what failed in it.
    void synchronize();

  private:
    void check_computes() const;

    bool plans_ = false;
    std::optional<Gpu> gpu_;
    std::shared_ptr<void> handle_;  // of the device's stream
    std::unique_ptr<Pool> pool_, host_pool_, input_pool_;
    int threads_;
    DeviceStream device_stream_;
    WorkMeter* meter_ = nullptr;
};

/// A place in the order of a stream's work. On the CPU, whose work is done when it is queued, every event is
/// over at once.
class Event {
  public:
    Event() = default;
    /// The place behind all that is queued on the stream by now. The event is used for that stream's device
    /// from then on.
    void record(Stream& stream);
    /// Whether what was queued before it is done; true for an event that was never recorded. Throws CudaError
    /// for what failed.
    bool done() const;
    /// Returns when it is done.
    void wait() const;

  private:
    std::shared_ptr<void> handle_;
};

}  // namespace skein
