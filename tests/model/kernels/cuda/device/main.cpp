// The tests of the CUDA kernels on a GPU. Without one they are all skipped, in one line.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "model/base/error.h"
#include "tests/model/kernels/cuda/device/managed_heap.h"
#include "tests/support/cuda_order.h"

namespace skein::test {

void shim::set_order(Order) {
    // what a kernel did wrong while it ran comes out here, with the test that ran it
    const cudaError_t status = cudaDeviceSynchronize();
    if (status != cudaSuccess) throw CudaError(text("a kernel failed: ", cudaGetErrorString(status)));
}

namespace {

/// Why there is no GPU to test on; empty if there is one.
std::string missing_gpu() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) return cudaGetErrorString(status);
    return count > 0 ? std::string() : "there is none";
}

}  // namespace
}  // namespace skein::test

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    // A launch returns when the kernel is done, so that a test reads the results right after it.
    setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    const std::string missing = skein::test::missing_gpu();
    if (!missing.empty()) {
        std::cout << "skipped: no GPU to run the CUDA kernels on: " << missing << "\n";
        return 0;
    }
    cudaDeviceProp properties{};
    int driver = 0, runtime = 0;
    cudaGetDeviceProperties(&properties, 0);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    std::cout << properties.name << ", compute capability " << properties.major << "." << properties.minor
              << ", " << properties.multiProcessorCount << " multiprocessors, driver " << driver
              << ", runtime " << runtime << "\n";
    skein::test::start_managed_heap();
    return RUN_ALL_TESTS();
}
