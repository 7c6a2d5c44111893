#include <gtest/gtest.h>

#include <vector>

#include "model/kernels/cuda/initial_values.h"
#include "model/nn/parameter.h"

namespace skein {
namespace {

TEST(InitialValues, HaveTheSameBitsFromTheCudaKernel) {
    using kernels::cuda::InitialKind;
    constexpr std::int64_t kFirst = 12345, kCount = 200'000;
    const PhiloxKey key = philox_key(7, RandomPurpose::kInitialValues, 0, 3);
    const auto check = [&](InitialValues initial, InitialKind kind, double scale) {
        std::vector<float> wanted(kCount), found(kCount);
        fill_initial_values(initial, 7, 3, kFirst, kCount, wanted.data());
        CudaStream stream;
        kernels::cuda::fill_initial_values(stream, kind, scale, key, kFirst, kCount, found.data());
        EXPECT_TRUE(found == wanted);
    };
    check(InitialValues::zeros(), InitialKind::kConstant, 0.0);
    check(InitialValues::ones(), InitialKind::kConstant, 1.0);
    check(InitialValues::normal(0.02), InitialKind::kNormal, 0.02);
    const InitialValues xavier = InitialValues::xavier_uniform(10, 20);
    check(xavier, InitialKind::kUniform, xavier.scale);
}

}  // namespace
}  // namespace skein
