#include <cstring>
#include <map>
#include <type_traits>
#include <utility>

#include "model/base/error.h"
#include "model/tensor/cuda/runtime.h"
#include "model/tensor/cuda/uploads.h"
#include "model/tensor/memory.h"
#include "model/tensor/stream.h"

namespace skein {
namespace {

class GpuMemory : public MemorySource {
  public:
    Device device() const override { return Device::cuda; }
    std::byte* allocate(std::size_t bytes) override { return cuda::allocate(bytes); }
    void release(std::byte* memory) noexcept override { cuda::release(memory); }
};

class PinnedMemory final : public MemorySource {
  public:
    Device device() const override { return Device::cpu; }
    std::byte* allocate(std::size_t bytes) override { return cuda::allocate_host(bytes); }
    void release(std::byte* memory) noexcept override { cuda::release_host(memory); }
};

std::shared_ptr<void> owned(void* new_event) {
    return {new_event, [](void* event) { cuda::destroy_event(event); }};
}

std::shared_ptr<void> owned_event() {
    return owned(cuda::make_event());
}

std::shared_ptr<void> owned_stream(int device) {
    return {cuda::make_stream(device), [](void* stream) { cuda::destroy_stream(stream); }};
}

/// Memory that is written by a stream of copies and read by one of work. What the work was to read of a block
/// that was given back must have been read before the copies write it again.
class InputMemory final : public GpuMemory {
  public:
    InputMemory(std::shared_ptr<void> copies, void* work) : copies_(std::move(copies)), work_(work) {}

    void given_back(std::byte* memory) noexcept override {
        try {
            std::shared_ptr<void>& last_read = last_reads_[memory];
            if (!last_read) last_read = owned_event();
            cuda::record(last_read.get(), work_);
        } catch (const CudaError&) {
            // a device that has failed says so to whoever waits for it
        }
    }
    bool is_idle(std::byte* memory) const override { return cuda::is_done(last_reads_.at(memory).get()); }
    void handed_out_again(std::byte* memory) override {
        cuda::make_wait(copies_.get(), last_reads_.at(memory).get());
    }

  private:
    std::shared_ptr<void> copies_;
    void* work_;
    std::map<std::byte*, std::shared_ptr<void>> last_reads_;  // events
};

}  // namespace

GpuReport find_gpus() {
    GpuReport report = cuda::find_gpus();
    report.runtime = cuda::runtime_version();
    return report;
}

GpuProperties properties_of(Gpu gpu) {
    return cuda::properties_of(gpu.index);
}

std::size_t free_memory_of(Gpu gpu) {
    return cuda::free_memory(gpu.index);
}

Stream::Stream(int threads) : Stream(std::nullopt, threads) {}

Stream::Stream(const std::optional<Gpu>& gpu, int threads) : gpu_(gpu), threads_(threads) {
    if (!gpu) {
        pool_ = std::make_unique<Pool>();
        device_stream_ = CpuStream{threads, pool_.get()};
        return;
    }
    handle_ = owned_stream(gpu->index);
    const std::shared_ptr<void> copies = owned_stream(gpu->index);
    pool_ = std::make_unique<Pool>(std::make_unique<GpuMemory>());
    host_pool_ = std::make_unique<Pool>(std::make_unique<PinnedMemory>());
    input_pool_ = std::make_unique<Pool>(std::make_unique<InputMemory>(copies, handle_.get()));
    CudaStream stream;
    stream.handle = handle_.get();
    stream.pool = pool_.get();
    stream.uploads = std::make_shared<Uploads>(*host_pool_);
    stream.uploads->own_stream = copies.get();
    device_stream_ = std::move(stream);
}

Stream::~Stream() {
    try {
        synchronize();  // what is queued uses the memory that is about to go
    } catch (const CudaError&) {
        // whoever waited for the result has heard of it
    }
}

void Stream::synchronize() {
    if (const auto* stream = std::get_if<CudaStream>(&device_stream_)) cuda::synchronize(stream->handle);
}

void Event::record(Stream& stream) {
    stream.run([&](auto& s) {
        if constexpr (std::is_same_v<decltype(s), CudaStream&>) {
            if (!handle_) handle_ = owned_event();
            cuda::record(handle_.get(), s.handle);
        }
    });
}

bool Event::done() const {
    return !handle_ || cuda::is_done(handle_.get());
}

void Event::wait() const {
    if (handle_) cuda::wait(handle_.get());
}

void Moment::record(Stream& stream) {
    stream.run([&](auto& s) {
        if constexpr (std::is_same_v<decltype(s), CudaStream&>) {
            if (!event_) event_ = owned(cuda::make_timing_event());
            cuda::record(event_.get(), s.handle);
        } else {
            time_ = std::chrono::steady_clock::now();
        }
    });
}

double Moment::seconds_since(const Moment& earlier) const {
    if (event_) return cuda::seconds_between(earlier.event_.get(), event_.get());
    return std::chrono::duration<double>(time_ - earlier.time_).count();
}

void* Uploads::start(const void* host, void* to, std::size_t bytes, void* stream) {
    while (!under_way_.empty() && cuda::is_done(under_way_.front().event.get())) {
        idle_.push_back(std::move(under_way_.front().event));
        under_way_.pop_front();
    }
    Upload upload{host_pool_.allocate(bytes), idle_.empty() ? owned_event() : std::move(idle_.back())};
    if (!idle_.empty()) idle_.pop_back();
    std::memcpy(upload.pinned.get()->data, host, bytes);
    cuda::copy_to_device(upload.pinned.get()->data, to, bytes, stream);
    cuda::record(upload.event.get(), stream);
    under_way_.push_back(std::move(upload));
    return under_way_.back().event.get();
}

void zero_memory(CudaStream& stream, void* to, std::size_t bytes) {
    if (bytes > 0) cuda::zero(to, bytes, stream.handle);
}

void copy_memory(CudaStream& stream, const void* from, void* to, std::size_t bytes) {
    if (bytes > 0) cuda::copy(from, to, bytes, stream.handle);
}

void copy_rows(CudaStream& stream, const void* from, std::size_t from_stride, void* to, std::size_t to_stride,
               std::size_t bytes, std::size_t rows) {
    if (bytes > 0 && rows > 0) cuda::copy_rows(from, from_stride, to, to_stride, bytes, rows, stream.handle);
}

void upload(CudaStream& stream, const void* host, void* to, std::size_t bytes) {
    if (bytes > 0) stream.uploads->start(host, to, bytes, stream.handle);
}

void upload_input(CudaStream& stream, const void* host, void* to, std::size_t bytes) {
    if (bytes == 0) return;
    cuda::make_wait(stream.handle, stream.uploads->start(host, to, bytes, stream.uploads->own_stream));
}

void start_download(CudaStream& stream, const void* from, void* host, std::size_t bytes) {
    if (bytes > 0) cuda::copy_to_host(from, host, bytes, stream.handle);
}

}  // namespace skein
