// The tests of the CUDA kernels on a GPU, or with --time their times. Without a GPU all is skipped, in one
// line.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include "model/base/error.h"
#include "tests/model/kernels/cuda/device/shared_heap.h"
#include "tests/model/kernels/cuda/device/times.h"
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

void print_gpu() {
    cudaDeviceProp properties{};
    int driver = 0, runtime = 0;
    cudaGetDeviceProperties(&properties, 0);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    std::cout << properties.name << ", compute capability " << properties.major << "." << properties.minor
              << ", " << properties.multiProcessorCount << " multiprocessors, driver " << driver
              << ", runtime " << runtime << "\n";
}

}  // namespace
}  // namespace skein::test

int main(int argc, char** argv) {
    using namespace skein::test;
    ::testing::InitGoogleTest(&argc, argv);
    const bool time = argc > 1 && std::string_view(argv[1]) == "--time";
    // A launch returns when the kernel is done, so that a test reads the results right after it.
    if (!time) setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    const std::string missing = missing_gpu();
    if (!missing.empty()) {
        std::cout << "skipped: no GPU to run the CUDA kernels on: " << missing << "\n";
        return 0;
    }
    try {
        print_gpu();
        if (time) {
            print_times();
            return 0;
        }
        start_shared_heap();
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    const int failed = RUN_ALL_TESTS();
    std::cout.flush();
    // CUDA takes the shared heap back before static objects that lie in it would be destroyed
    std::_Exit(failed);
}
