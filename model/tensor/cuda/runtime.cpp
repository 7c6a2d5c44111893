#include "model/tensor/cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "model/base/error.h"

namespace skein::cuda {
namespace {

constexpr int kLeastCapability = SKEIN_LEAST_CAPABILITY;  // that the kernels are compiled for; 80 is 8.0

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // it is not to come out of the next launch as well
    throw CudaError(text("CUDA: ", what, ": ", cudaGetErrorString(status)));
}

cudaStream_t of(void* stream) {
    return static_cast<cudaStream_t>(stream);
}
cudaEvent_t event_of(void* event) {
    return static_cast<cudaEvent_t>(event);
}

std::string version(int number) {
    return text(number / 1000, ".", number % 1000 / 10);
}

GpuReport none(std::string why) {
    GpuReport report;
    report.missing = std::move(why);
    return report;
}

}  // namespace

GpuReport find_gpus() try {
    int driver = 0, runtime = 0, count = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess)
        return none("CUDA's versions could not be asked");
    if (driver == 0) return none("no NVIDIA driver is loaded");
    if (driver / 1000 < runtime / 1000)
        return none(text("the NVIDIA driver is of CUDA ", version(driver), ", wanted ", runtime / 1000,
                         ".0 or later"));
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) return none(text("no GPU: ", cudaGetErrorString(status)));
    if (count == 0) return none("no GPU was found");
    for (int device = 0; device < count; ++device) {
        const GpuProperties found = properties_of(device);
        if (10 * found.major + found.minor < kLeastCapability)
            return none(text("GPU ", device, " (", found.name, ") is of compute capability ", found.major,
                             ".", found.minor, ", this build is for ", kLeastCapability / 10, ".",
                             kLeastCapability % 10, " or later"));
    }
    GpuReport report;
    report.count = count;
    return report;
} catch (const CudaError& error) {
    return none(error.what());
}

std::string runtime_version() {
    return version(CUDART_VERSION);
}

GpuProperties properties_of(int device) {
    cudaDeviceProp found{};
    check(cudaGetDeviceProperties(&found, device), "properties");
    GpuProperties properties;
    properties.name = found.name;
    properties.major = found.major;
    properties.minor = found.minor;
    properties.memory = found.totalGlobalMem;
    properties.multiprocessors = found.multiProcessorCount;
    check(cudaDriverGetVersion(&properties.driver), "driver version");
    check(cudaRuntimeGetVersion(&properties.runtime), "runtime version");
    return properties;
}

std::size_t free_memory(int device) {
    check(cudaSetDevice(device), "setting the device");
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "free memory");
    return free;
}

void* make_stream(int device) {
    check(cudaSetDevice(device), "setting the device");
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return stream;
}
void destroy_stream(void* stream) noexcept {
    cudaStreamDestroy(of(stream));
}
void synchronize(void* stream) {
    check(cudaStreamSynchronize(of(stream)), "work on a stream");
}

void* make_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    return event;
}
void* make_timing_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "making an event");
    return event;
}
void destroy_event(void* event) noexcept {
    cudaEventDestroy(event_of(event));
}
void record(void* event, void* stream) {
    check(cudaEventRecord(event_of(event), of(stream)), "recording an event");
}
bool is_done(void* event) {
    const cudaError_t status = cudaEventQuery(event_of(event));
    if (status == cudaErrorNotReady) {
        cudaGetLastError();  // nor this
        return false;
    }
    check(status, "work before an event");
    return true;
}
void wait(void* event) {
    check(cudaEventSynchronize(event_of(event)), "work before an event");
}
double seconds_between(void* from, void* to) {
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, event_of(from), event_of(to)), "time between events");
    return static_cast<double>(milliseconds) * 1e-3;
}
void make_wait(void* stream, void* event) {
    check(cudaStreamWaitEvent(of(stream), event_of(event), 0), "making a stream wait");
}

std::byte* allocate(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();  // it is not to come out of the next launch
        return nullptr;
    }
    check(status, "allocating memory");
    return static_cast<std::byte*>(memory);
}
void release(std::byte* memory) noexcept {
    cudaFree(memory);
}
std::byte* allocate_host(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMallocHost(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return nullptr;
    }
    check(status, "allocating pinned memory");
    return static_cast<std::byte*>(memory);
}
void release_host(std::byte* memory) noexcept {
    cudaFreeHost(memory);
}

void zero(void* to, std::size_t bytes, void* stream) {
    check(cudaMemsetAsync(to, 0, bytes, of(stream)), "zeroing memory");
}
void copy(const void* from, void* to, std::size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(stream)), "copying memory");
}
void copy_rows(const void* from, std::size_t from_stride, void* to, std::size_t to_stride, std::size_t bytes,
               std::size_t rows, void* stream) {
    check(cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, rows, cudaMemcpyDeviceToDevice,
                            of(stream)),
          "copying rows");
}
void copy_to_device(const void* host, void* to, std::size_t bytes, void* stream) {
    check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, of(stream)), "copying to the GPU");
}
void copy_to_host(const void* from, void* host, std::size_t bytes, void* stream) {
    check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, of(stream)), "copying from the GPU");
}

}  // namespace skein::cuda
