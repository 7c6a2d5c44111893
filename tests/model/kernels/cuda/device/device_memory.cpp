#include "tests/model/kernels/cuda/device/device_memory.h"

#include <cuda_runtime_api.h>

#include "model/base/error.h"
#include "model/kernels/cuda/initial_values.h"
#include "model/tensor/float16.h"

namespace skein::test {

void DeviceMemoryTraits::release(Value value) noexcept {
    cudaFree(value);
}

DeviceMemory device_bytes(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status != cudaSuccess)
        throw CudaError(text("cudaMalloc of ", bytes, " bytes: ", cudaGetErrorString(status)));
    return DeviceMemory(memory);
}

DeviceMemory device_values(DType dtype, std::int64_t count) {
    using kernels::cuda::fill_initial_values;
    DeviceMemory memory = device_bytes(size_of(dtype) * static_cast<std::size_t>(count));
    CudaStream stream;
    const auto fill = [&](auto* values) {
        fill_initial_values(stream, kernels::cuda::InitialKind::kNormal, 0.5, {1, 2}, 0, count, values);
    };
    if (dtype == DType::bf16)
        fill(static_cast<Bf16*>(memory.get()));
    else if (dtype == DType::f16)
        fill(static_cast<F16*>(memory.get()));
    else
        fill(static_cast<float*>(memory.get()));
    return memory;
}

}  // namespace skein::test
