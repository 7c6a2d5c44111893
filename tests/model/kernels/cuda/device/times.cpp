#include "tests/model/kernels/cuda/device/times.h"

#include <cuda_runtime_api.h>

#include <iomanip>
#include <iostream>

#include "model/base/error.h"
#include "tests/model/kernels/cuda/device/device_memory.h"

namespace skein::test {
namespace {

void check(cudaError_t status, const char* call) {
    if (status != cudaSuccess) throw CudaError(text(call, ": ", cudaGetErrorString(status)));
}

struct EventTraits {
    using Value = cudaEvent_t;
    static Value none() noexcept { return nullptr; }
    static void release(Value value) noexcept { cudaEventDestroy(value); }
};
using Event = Handle<EventTraits>;

Event new_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "cudaEventCreate");
    return Event(event);
}

/// c: [m, n] in `c_type` = op(a) · op(b), everything packed.
void print_product(CudaStream& stream, const std::string& what, bool transpose_a, bool transpose_b,
                   std::int64_t m, std::int64_t n, std::int64_t k, DType type, DType c_type,
                   bool accumulate) {
    const DeviceMemory a = device_values(type, m * k), b = device_values(type, k * n),
                       c = device_values(c_type, m * n);
    kernels::GemmArgs args{.transpose_a = transpose_a, .transpose_b = transpose_b, .m = m, .n = n, .k = k};
    args.a = {a.get(), type}, args.lda = transpose_a ? m : k;
    args.b = {b.get(), type}, args.ldb = transpose_b ? k : n;
    args.c = {c.get(), c_type}, args.ldc = n;
    args.accumulate = accumulate;
    const auto size = [](DType of, std::int64_t count) {
        return static_cast<double>(size_of(of)) * static_cast<double>(count);
    };
    const double bytes =
        size(type, m * k) + size(type, k * n) + size(c_type, m * n) * (accumulate ? 2.0 : 1.0);
    const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    print_time(text(what, ", ", name_of(type), ", ", m, " x ", n, " x ", k), flops, bytes,
               [&] { kernels::gemm(stream, args); });
}

}  // namespace

void print_time(const std::string& what, double flops, double bytes, const std::function<void()>& queue) {
    constexpr int kWarm = 5, kCalls = 50;
    for (int i = 0; i < kWarm; ++i) queue();
    const Event begin = new_event(), end = new_event();
    check(cudaEventRecord(begin.get(), nullptr), "cudaEventRecord");
    for (int i = 0; i < kCalls; ++i) queue();
    check(cudaEventRecord(end.get(), nullptr), "cudaEventRecord");
    check(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
    float all = 0.0f;
    check(cudaEventElapsedTime(&all, begin.get(), end.get()), "cudaEventElapsedTime");
    const double seconds = static_cast<double>(all) / 1e3 / kCalls;
    std::cout << what << ": " << std::fixed << std::setprecision(4) << seconds * 1e3 << " ms, "
              << std::setprecision(1) << flops / seconds / 1e12 << " TFLOP/s, " << bytes / seconds / 1e9
              << " GB/s\n";
}

void print_times() {
    CudaStream stream;
    const std::int64_t tokens = 8192;
    struct Layer {
        const char* name;
        std::int64_t out, in;
    };
    for (const DType type : {DType::bf16, DType::f32})
        for (const Layer& layer : {Layer{"query, key, value", 2304, 768},
                                   {"attention's projection", 768, 768},
                                   {"feed-forward up", 3072, 768},
                                   {"feed-forward down", 768, 3072},
                                   {"output head", 50304, 768}}) {
            const std::string name = layer.name;
            print_product(stream, name + ", forward", false, true, tokens, layer.out, layer.in, type, type,
                          false);
            print_product(stream, name + ", input's gradient", false, false, tokens, layer.in, layer.out,
                          type, type, false);
            print_product(stream, name + ", weight's gradient", true, false, layer.out, layer.in, tokens,
                          type, DType::f32, true);
        }
    print_cudnn_times();
}

}  // namespace skein::test
