#include "model/kernels/elementwise.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaElementwise : public ::testing::Test {};
TYPED_TEST_SUITE(CudaElementwise, ElementTypes);

/// The CPU's sum in fp32, rounded once.
template <class From, class To>
void check_copy(std::int64_t count, bool accumulate) {
    const Floats source = random_in<From>(count, 1), old = random_in<To>(count, 2);
    const auto found = in_every_order([&] {
        ShimStream stream;
        std::vector<To> target = rounded<To>(old);
        const std::vector<From> from = rounded<From>(source);
        copy_or_add(stream, from.data(), target.data(), count, accumulate);
        return target;
    });
    CpuStream cpu;
    Floats wanted = old;
    copy_or_add(cpu, source.data(), wanted.data(), count, accumulate);
    EXPECT_EQ(found, rounded<To>(wanted));
}

TYPED_TEST(CudaElementwise, CopiesAndAddsAsTheCpuDoesAndRoundsOnce) {
    for (const std::int64_t count : {1, 7, 8, 2048, 5003})
        for (const bool accumulate : {false, true}) {
            check_copy<float, TypeParam>(count, accumulate);
            check_copy<TypeParam, float>(count, accumulate);
            check_copy<TypeParam, TypeParam>(count, accumulate);
            check_copy<TypeParam, Bf16>(count, accumulate);
        }
}

TYPED_TEST(CudaElementwise, CopiesBetweenAddressesOffAMultipleOf16) {
    ShimStream stream;
    const std::vector<TypeParam> source = rounded<TypeParam>(random_floats(41, 3));
    std::vector<TypeParam> target(42);
    copy_or_add(stream, source.data() + 1, target.data() + 2, 40, false);
    EXPECT_TRUE(std::equal(source.begin() + 1, source.end(), target.begin() + 2));
    EXPECT_EQ(to_float(target[1]), 0.0f);
}

TEST(CudaAdd, HasTheCpusBitsAndMayWriteToEitherSide) {
    for (const std::int64_t count : {1, 8, 2048, 5003}) {
        const Floats left = random_floats(count, 1), right = random_floats(count, 2);
        Floats wanted(left.size());
        CpuStream cpu;
        add(cpu, left.data(), right.data(), wanted.data(), count);
        const auto found = in_every_order([&] {
            ShimStream stream;
            std::vector<Floats> out{Floats(left.size()), left, right};
            add(stream, left.data(), right.data(), out[0].data(), count);
            add(stream, out[1].data(), right.data(), out[1].data(), count);
            add(stream, left.data(), out[2].data(), out[2].data(), count);
            return out;
        });
        EXPECT_EQ(found, (std::vector<Floats>{wanted, wanted, wanted}));
    }
}

TYPED_TEST(CudaElementwise, DropoutHasTheCpusMasks) {
    const RowPlace place{4, 3, 2};
    const Dropout dropout = make_dropout(0.3, {5, 8});
    for (const std::int64_t width : {1, 8, 37, 136})
        for (const bool accumulate : {false, true}) {
            const std::int64_t rows = 21;
            const Floats x = random_in<TypeParam>(rows * width, 1),
                         old = random_in<TypeParam>(rows * width, 2);
            const auto found = in_every_order([&] {
                ShimStream stream;
                std::vector<TypeParam> y = rounded<TypeParam>(old);
                const std::vector<TypeParam> from = rounded<TypeParam>(x);
                apply_dropout(stream, dropout, place, rows, width, from.data(), y.data(), accumulate);
                return y;
            });
            CpuStream cpu;
            Floats wanted = old;
            apply_dropout(cpu, dropout, place, rows, width, x.data(), wanted.data(), accumulate);
            EXPECT_EQ(found, rounded<TypeParam>(wanted));
        }
}

TYPED_TEST(CudaElementwise, DropoutOfASliceHasTheCpusMasks) {
    const Dropout dropout = make_dropout(0.3, {5, 8});
    for (const std::int64_t first_row : {1, 7})
        for (const std::int64_t first_channel : {8, 72}) {
            const RowPlace place{4, 3, 2, first_row, first_channel};
            const std::int64_t rows = 13, width = 75;
            const Floats x = random_in<TypeParam>(rows * width, 1);
            const auto found = in_every_order([&] {
                ShimStream stream;
                const std::vector<TypeParam> from = rounded<TypeParam>(x);
                std::vector<TypeParam> y(from.size());
                apply_dropout(stream, dropout, place, rows, width, from.data(), y.data(), false);
                return y;
            });
            CpuStream cpu;
            Floats wanted(x.size());
            apply_dropout(cpu, dropout, place, rows, width, x.data(), wanted.data(), false);
            EXPECT_EQ(found, rounded<TypeParam>(wanted));
        }
}

}  // namespace
}  // namespace skein::kernels::cuda
