#include "model/kernels/elementwise.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaSums : public ::testing::Test {};
TYPED_TEST_SUITE(CudaSums, ElementTypes);

struct Shape {
    std::int64_t rows, width;
};
// one part, many, and parts of parts; widths with and without 16-byte accesses
const std::vector<Shape> kShapes{{0, 9}, {1, 3}, {256, 64}, {600, 130}, {70000, 3}};

template <class T>
Floats sums_of(const Shape& shape, const Floats& x, const Floats& old, bool accumulate) {
    const std::vector<T> from = rounded<T>(x);
    return in_every_order([&] {
        ShimStream stream;
        Floats sums = old;
        column_sums(stream, shape.rows, shape.width, from.data(), sums.data(), accumulate);
        return sums;
    });
}

TYPED_TEST(CudaSums, OfColumnsAreTheCpusWhereEverySumIsExact) {
    for (const Shape& shape : kShapes)
        for (const bool accumulate : {false, true}) {
            Floats x = random_in<TypeParam>(shape.rows * shape.width, 1, 4.0f),
                   old = random_floats(shape.width, 2, 4.0f);
            for (float& value : x) value = std::round(value);
            for (float& value : old) value = std::round(value);
            Floats wanted = old;
            CpuStream cpu;
            column_sums(cpu, shape.rows, shape.width, x.data(), wanted.data(), accumulate);
            EXPECT_EQ(sums_of<TypeParam>(shape, x, old, accumulate), wanted);
        }
}

TYPED_TEST(CudaSums, OfColumnsMatchFp64) {
    for (const Shape& shape : kShapes) {
        const Floats x = random_in<TypeParam>(shape.rows * shape.width, 1),
                     old(static_cast<std::size_t>(shape.width));
        const Floats found = sums_of<TypeParam>(shape, x, old, false);
        // 13 additions on the way through each of up to two levels, each off by 2^-24 of a sum of some four
        // standard deviations at most
        const double tolerance = 26.0 * 0x1p-24 * 4.0 * std::sqrt(static_cast<double>(shape.rows));
        for (std::int64_t c = 0; c < shape.width; ++c) {
            double wanted = 0.0;
            for (std::int64_t r = 0; r < shape.rows; ++r)
                wanted += static_cast<double>(at(x, r * shape.width + c));
            ASSERT_NEAR(static_cast<double>(at(found, c)), wanted, tolerance);
        }
    }
}

}  // namespace
}  // namespace skein::kernels::cuda
