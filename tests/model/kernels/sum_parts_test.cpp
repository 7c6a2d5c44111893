#include "model/kernels/sum_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "model/tensor/pool.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;

template <class T>
class SumParts : public ::testing::Test {};
using ElementTypes = ::testing::Types<float, Bf16, F16>;
TYPED_TEST_SUITE(SumParts, ElementTypes);

/// Sums in fp32 in the order of parts, rounded once: the very bits, with y apart or where the own part lies.
template <class T>
void check(std::int64_t count, std::int64_t stride, int parts, int own, int threads) {
    SCOPED_TRACE(::testing::Message() << count << " elements, part " << own << " of " << parts);
    std::vector<T> others, own_part;
    // some 1e4 apart, so that another order or a rounding between has other bits
    for (int p = 0; p < parts; ++p)
        for (const float value :
             random_floats(stride, static_cast<std::uint32_t>(p), p % 2 == 0 ? 1e2f : 1e-2f))
            others.push_back(from_float<T>(value));
    std::vector<T> wanted;
    for (std::int64_t i = 0; i < count; ++i) {
        float total = to_float(at(others, i));
        for (int p = 1; p < parts; ++p) total += to_float(at(others, p * stride + i));
        wanted.push_back(from_float<T>(total));
    }
    own_part.assign(others.begin() + own * stride, others.begin() + own * stride + count);
    std::fill_n(others.begin() + own * stride, stride, from_float<T>(3e4f));  // not to be read

    Pool pool;
    CpuStream stream{threads, &pool};
    std::vector<T> y(own_part.size() + 1, from_float<T>(7.0f));
    SumPartsArgs args{.count = count, .stride = stride, .parts = parts, .own = own};
    args.others = others.data();
    args.own_part = own_part.data();
    args.y = y.data();
    sum_parts(stream, args);
    EXPECT_EQ(to_float(y.back()), 7.0f) << "written past the last element";
    y.pop_back();
    EXPECT_EQ(y, wanted);
    args.y = own_part.data();
    sum_parts(stream, args);
    EXPECT_EQ(own_part, wanted);
}

TYPED_TEST(SumParts, AddsInTheOrderOfPartsAndRoundsOnce) {
    for (const std::int64_t count : {0, 1, 7, 8, 77})
        for (const int parts : {1, 2, 3, 4})
            for (int own = 0; own < parts; ++own) check<TypeParam>(count, 80, parts, own, 1);
}

TYPED_TEST(SumParts, HasTheSameBitsForAnyNumberOfThreads) {
    for (const int threads : {1, 2, 3}) check<TypeParam>(40'001, 40'003, 3, 1, threads);
}

}  // namespace
}  // namespace skein::kernels
