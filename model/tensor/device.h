#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace skein {

enum class Device : std::uint8_t { cpu, cuda };

/// One GPU, by its number in this process.
struct Gpu {
    int index = 0;
};

/// What can be said of the GPUs that this process may use.
struct GpuReport {
    int count = 0;        ///< 0: there is none, and `missing` says why
    std::string missing;  ///< "this build has no CUDA", "the driver is too old ...", "no GPU was found"
    bool built = true;    ///< whether this build has CUDA
    std::string runtime;  ///< "13.0": CUDA's version in it
};

/// What one GPU is.
struct GpuProperties {
    std::string name;          ///< "NVIDIA H200"
    int major = 0, minor = 0;  ///< compute capability
    std::size_t memory = 0;    ///< bytes
    int multiprocessors = 0;
    int driver = 0, runtime = 0;  ///< CUDA versions, 1000 · major + 10 · minor
};

/// Throws nothing: what is wrong stands in the report.
GpuReport find_gpus();
/// Throws CudaError.
GpuProperties properties_of(Gpu gpu);
/// Bytes of its memory that nobody has taken yet. Throws CudaError.
std::size_t free_memory_of(Gpu gpu);

}  // namespace skein
