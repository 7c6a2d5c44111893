#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "model/tensor/cuda_stream.h"
#include "model/tensor/float16.h"
#include "model/tensor/pool.h"
#include "tests/support/cuda_order.h"
#include "tests/support/random_values.h"

/// What the tests of the CUDA kernels share. They are linked twice: with the shim, and with the kernels as
/// nvcc builds them (device/). There every vector of a test is in memory that the GPU reads as well, and a
/// launch returns when it is done; so a kernel's operands are in vectors, never on the stack.
namespace skein::test {

using Floats = std::vector<float>;
using ElementTypes = ::testing::Types<float, Bf16, F16>;

/// Where the memory of a test's vectors comes from.
class TestMemory final : public MemorySource {
  public:
    Device device() const override { return Device::cuda; }
    std::byte* allocate(std::size_t bytes) override {
        return static_cast<std::byte*>(::operator new(bytes, kAlignment));
    }
    void release(std::byte* memory) noexcept override { ::operator delete(memory, kAlignment); }

  private:
    static constexpr std::align_val_t kAlignment{64};
};

/// A stream whose work is done when it is queued, with memory of its own.
struct ShimStream : CudaStream {
    Pool memory{std::make_unique<TestMemory>()};
    ShimStream() { pool = &memory; }
};

/// What f() gives with the threads and blocks run forward; and that it is the same in other orders. On a GPU:
/// and that it is the same each time.
template <class F>
auto in_every_order(const F& f) {
    shim::set_order(shim::Order::kForward);
    const auto found = f();
    for (const shim::Order order : {shim::Order::kBackward, shim::Order::kShuffled}) {
        shim::set_order(order);
        EXPECT_TRUE(f() == found) << "a kernel's values depend on the order of its threads";
    }
    shim::set_order(shim::Order::kForward);
    return found;
}

/// The values in T, rounded.
template <class T>
std::vector<T> rounded(const Floats& values) {
    std::vector<T> out;
    out.reserve(values.size());
    for (const float value : values) out.push_back(from_float<T>(value));
    return out;
}

template <class T>
Floats floats(const std::vector<T>& values) {
    Floats out;
    out.reserve(values.size());
    for (const T value : values) out.push_back(to_float(value));
    return out;
}

/// Normal values that T holds, for a kernel in T and for its reference in fp32.
template <class T>
Floats random_in(std::int64_t count, std::uint32_t seed, float deviation = 1.0f, float mean = 0.0f) {
    return floats(rounded<T>(random_floats(count, seed, deviation, mean)));
}

/// Half a unit in the last place, relative: what rounding to T may add.
template <class T>
constexpr double kRounding = 0.0;
template <>
inline constexpr double kRounding<Bf16> = 0x1p-8;
template <>
inline constexpr double kRounding<F16> = 0x1p-11;

/// found[i] is wanted[i] within `fp32`, relative to 1 + |wanted[i]|, and the rounding to T.
template <class T>
void expect_near(const std::vector<T>& found, const Floats& wanted, double fp32) {
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double size = std::abs(static_cast<double>(wanted[i]));
        ASSERT_NEAR(static_cast<double>(to_float(found[i])), static_cast<double>(wanted[i]),
                    fp32 * (1.0 + size) + kRounding<T> * size + (kRounding<T> > 0.0 ? 0x1p-25 : 0.0))
            << "element " << i;
    }
}

}  // namespace skein::test
