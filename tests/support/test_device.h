#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/base/error.h"
#include "model/tensor/tensor.h"

namespace skein::test {

/// The device that a test's streams are on: none, which is the CPU, unless SKEIN_TEST_DEVICE in the
/// environment is "cuda". It is in the programs named ..._shim_test, whose GPU is the shim; the others take
/// the machine's. Throws CudaError where there is none, so that the test fails.
inline std::optional<Gpu> test_gpu() {
    const char* wanted = std::getenv("SKEIN_TEST_DEVICE");
    if (!wanted || std::string_view(wanted) == "cpu") return std::nullopt;
    if (std::string_view(wanted) != "cuda")
        throw ConfigError(text("SKEIN_TEST_DEVICE: found ", wanted, ", wanted cpu or cuda"));
    if (const GpuReport report = find_gpus(); report.count < 1)
        throw CudaError(text("SKEIN_TEST_DEVICE: found cuda, but ", report.missing));
    return Gpu{0};
}

/// Whether a stream's GPU is the shim, which is some hundred times slower than the CPU: a test may take fewer
/// sizes there.
inline bool is_shim(Stream& stream) {
    return stream.gpu() && properties_of(*stream.gpu()).name == "CUDA on the CPU";
}

/// How far the results for one row may lie apart, by their size, when the number of rows beside it is
/// another. Not at all on the CPU and in the shim. cuBLASLt may take another algorithm for another number of
/// rows, which adds in another order: rounding of fp32 through a small model, some 100 ulp, or two units of
/// the 16 bits.
inline double row_tolerance(Stream& stream, DType dtype = DType::f32) {
    if (!stream.gpu() || is_shim(stream)) return 0.0;
    return dtype == DType::bf16 ? 0x1p-7 : dtype == DType::f16 ? 0x1p-10 : 1e-5;
}

/// A tensor's elements, wherever they lie.
template <class T>
std::vector<T> values_of(Stream& stream, const Tensor& tensor) {
    const Tensor host = on_host(stream, tensor);
    return {host.span<T>().begin(), host.span<T>().end()};
}
inline std::vector<float> floats_of(Stream& stream, const Tensor& tensor) {
    return values_of<float>(stream, tensor);
}

/// The tensor's elements become `values`.
template <class T>
void assign(Stream& stream, const Tensor& tensor, const std::vector<T>& values) {
    assign_bytes(stream, tensor, std::as_bytes(std::span(values)));
}
/// An f32 tensor whose elements are all `value`.
inline Tensor filled(Stream& stream, const Shape& shape, float value) {
    return Tensor::from<float>(stream, shape,
                               std::vector<float>(static_cast<std::size_t>(shape.elements()), value));
}

}  // namespace skein::test
