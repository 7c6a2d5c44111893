#include "model/kernels/initial_values.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

Floats fill(auto&& stream, InitialKind kind, double scale, std::int64_t first, std::int64_t count) {
    Floats values(static_cast<std::size_t>(count), -1.0f);
    fill_initial_values(stream, {kind, scale, {3, 9}, first, count, values.data()});
    return values;
}

TEST(CudaInitialValues, HaveTheCpusBits) {
    // 200,000: what of the normal distribution's arithmetic differs between devices may do so rarely
    const std::int64_t first = (std::int64_t{1} << 34) + 3, count = 200'000;  // past what 32 bits count
    for (const InitialKind kind :
         {InitialKind::kZeros, InitialKind::kOnes, InitialKind::kNormal, InitialKind::kUniform}) {
        const Floats found = fill(ShimStream(), kind, 0.02, first, count);
        EXPECT_TRUE(found == fill(CpuStream{2, nullptr}, kind, 0.02, first, count));
        EXPECT_EQ(fill(ShimStream(), kind, 0.02, first + 500, 10),
                  Floats(found.begin() + 500, found.begin() + 510));
    }
}

}  // namespace
}  // namespace skein::kernels::cuda
