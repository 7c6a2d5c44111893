#include "model/kernels/cuda/initial_values.h"

#include "model/base/normal.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaInitialValues : public ::testing::Test {};
TYPED_TEST_SUITE(CudaInitialValues, ElementTypes);

constexpr PhiloxKey kKey{3, 9};

template <class T>
std::vector<T> fill(InitialKind kind, double scale, std::int64_t first, std::int64_t count) {
    CudaStream stream;
    std::vector<T> values(static_cast<std::size_t>(count));
    fill_initial_values(stream, kind, scale, kKey, first, count, values.data());
    return values;
}

TYPED_TEST(CudaInitialValues, AreAFunctionOfTheGlobalIndex) {
    const std::int64_t first = (std::int64_t{1} << 34) + 3;  // past what 32 bits count
    const auto normal = fill<TypeParam>(InitialKind::kNormal, 0.02, first, 1000);
    const auto uniform = fill<TypeParam>(InitialKind::kUniform, 0.3, first, 1000);
    for (std::int64_t i = 0; i < 1000; ++i) {
        const NormalParts parts = normal_parts_at(kKey, first + i);
        const double variate = std::sqrt(parts.radius_square) * parts.direction;
        EXPECT_EQ(at(normal, i), from_float<TypeParam>(static_cast<float>(0.02 * variate)));
        const double share = 2.0 * uniform_at(kKey, first + i) - 1.0;
        EXPECT_EQ(at(uniform, i), from_float<TypeParam>(static_cast<float>(0.3 * share)));
    }
    EXPECT_EQ(fill<TypeParam>(InitialKind::kNormal, 0.02, first + 500, 10),
              std::vector<TypeParam>(normal.begin() + 500, normal.begin() + 510));
    EXPECT_EQ(fill<TypeParam>(InitialKind::kConstant, 1.0, 0, 300),
              std::vector<TypeParam>(300, from_float<TypeParam>(1.0f)));
}

}  // namespace
}  // namespace skein::kernels::cuda
