#include "model/kernels/sum_parts.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaSumParts : public ::testing::Test {};
TYPED_TEST_SUITE(CudaSumParts, ElementTypes);

template <class T>
std::vector<T> sum(auto& stream, SumPartsArgs args, const std::vector<T>& others, std::vector<T> own_part,
                   bool in_place) {
    std::vector<T> y(in_place ? 0 : own_part.size());
    args.others = others.data();
    args.own_part = own_part.data();
    args.y = in_place ? own_part.data() : y.data();
    sum_parts(stream, args);
    return in_place ? own_part : y;
}

TYPED_TEST(CudaSumParts, HasTheCpusBits) {
    for (const std::int64_t count : {0, 1, 8, 77, 5003})
        for (const auto& [parts, own] : {std::pair{1, 0}, {2, 0}, {2, 1}, {4, 2}})
            for (const std::int64_t padding : {0, 5}) {  // strides of all alignments
                const std::int64_t stride = count + padding;
                const auto others = rounded<TypeParam>(random_floats(parts * stride, 1, 30.0f)),
                           own_part = rounded<TypeParam>(random_floats(count, 2));
                const SumPartsArgs args{.count = count, .stride = stride, .parts = parts, .own = own};
                Pool pool;
                CpuStream cpu{1, &pool};
                const auto wanted = floats(sum(cpu, args, others, own_part, false));
                for (const bool in_place : {false, true})
                    EXPECT_EQ(floats(in_every_order([&] {
                                  ShimStream stream;
                                  return sum(stream, args, others, own_part, in_place);
                              })),
                              wanted)
                        << count << " elements, part " << own << " of " << parts;
            }
}

TYPED_TEST(CudaSumParts, MayLieAtAnyElement) {
    ShimStream stream;
    const auto others = rounded<TypeParam>(random_floats(2 * 48, 1)),
               own_part = rounded<TypeParam>(random_floats(41, 2));
    std::vector<TypeParam> y(43, from_float<TypeParam>(7.0f));
    SumPartsArgs args{.count = 40, .stride = 48, .parts = 2, .own = 1};
    args.others = others.data();
    args.own_part = own_part.data() + 1;
    args.y = y.data() + 2;
    sum_parts(stream, args);
    for (std::int64_t i = 0; i < 40; ++i)
        EXPECT_EQ(at(y, i + 2),
                  from_float<TypeParam>(to_float(at(others, i)) + to_float(at(own_part, i + 1))));
    EXPECT_EQ(to_float(y[1]), 7.0f);
    EXPECT_EQ(to_float(y[42]), 7.0f);
}

}  // namespace
}  // namespace skein::kernels::cuda
