#pragma once

#include <cstddef>
#include <cstdint>

#include "model/base/handle.h"
#include "model/tensor/dtype.h"

namespace skein::test {

/// Memory of the GPU.
struct DeviceMemoryTraits {
    using Value = void*;
    static Value none() noexcept { return nullptr; }
    static void release(Value value) noexcept;
};
using DeviceMemory = Handle<DeviceMemoryTraits>;
/// `count` elements of normal values with deviation 0.5. Throws CudaError.
DeviceMemory device_values(DType dtype, std::int64_t count);
DeviceMemory device_bytes(std::size_t bytes);

}  // namespace skein::test
