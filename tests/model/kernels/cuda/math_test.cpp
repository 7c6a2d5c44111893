// What kernels compute with, called as it is: on the shim only.
#include "model/kernels/cuda/math.cuh"

#include "model/kernels/cpu/simd.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

TEST(CudaMath, ExponentialAndGeluHaveTheCpusBits) {
    const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
    Floats values = random_floats(20000, 7, 30.0f);
    values.insert(values.end(),
                  {0.0f, -0.0f, -87.33654f, -87.4f, 88.3f, 1e30f, -1e30f, 1e-30f, -INFINITY, INFINITY});
    for (const float x : values) {
        ASSERT_EQ(bits(exp_of(x)), bits(simd::exp(simd::splat(x))[0])) << x;
        ASSERT_EQ(bits(gelu_of(x)), bits(simd::gelu(simd::splat(x))[0])) << x;
        ASSERT_EQ(bits(gelu_derivative_of(x)), bits(simd::gelu_derivative(simd::splat(x))[0])) << x;
    }
    EXPECT_TRUE(std::isnan(exp_of(NAN)));
}

}  // namespace
}  // namespace skein::kernels::cuda
