#include "model/base/error.h"
#include "model/tensor/stream.h"

namespace skein {
namespace {

constexpr const char* kNone = "this build has no CUDA";

}  // namespace

GpuReport find_gpus() {
    return {0, kNone, false, ""};
}

GpuProperties properties_of(Gpu) {
    throw CudaError(kNone);
}

std::size_t free_memory_of(Gpu) {
    throw CudaError(kNone);
}

Stream::Stream(int threads)
    : pool_(std::make_unique<Pool>()), threads_(threads), device_stream_(CpuStream{threads, pool_.get()}) {}

Stream::Stream(const std::optional<Gpu>& gpu, int threads) : Stream(threads) {
    if (gpu) throw CudaError(kNone);
}

Stream::~Stream() = default;

void Stream::synchronize() {}

void Event::record(Stream&) {}

bool Event::done() const {
    return true;
}

void Event::wait() const {}

void Moment::record(Stream&) {
    time_ = std::chrono::steady_clock::now();
}

double Moment::seconds_since(const Moment& earlier) const {
    return std::chrono::duration<double>(time_ - earlier.time_).count();
}

}  // namespace skein
