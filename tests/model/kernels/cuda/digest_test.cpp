#include "model/kernels/digest.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels {
namespace {

using namespace test;

template <class T>
class CudaDigest : public ::testing::Test {};
TYPED_TEST_SUITE(CudaDigest, ElementTypes);

struct Part {
    std::int64_t count, first, run, stride;
    std::size_t skip;  ///< of its memory's elements: then it is off a multiple of 16 bytes
};

TYPED_TEST(CudaDigest, IsTheCpusForEveryPart) {
    for (const Part& part :
         {Part{1, 0, 1, 1, 0}, Part{40'003, 17, 40'003, 40'003, 0}, Part{1000, 0, 1000, 1000, 1},
          Part{35 * 48, 96, 48, 192, 0}, Part{35 * 13, 5, 13, 40, 0}, Part{99, 2, 1, 3, 0},
          Part{7 * 3000, 1 << 20, 3000, std::int64_t{1} << 33, 0}, Part{0, 0, 1, 1, 0}}) {
        const auto x =
            rounded<TypeParam>(random_floats(part.count + static_cast<std::int64_t>(part.skip), 13, 2.0f));
        const auto run = [&](auto&& stream) {
            std::vector<std::uint64_t> sum{5};
            digest(stream, {x.data() + part.skip, part.count, part.first, part.run, part.stride, sum.data()});
            return sum;
        };
        EXPECT_EQ(in_every_order([&] { return run(ShimStream()); }), run(CpuStream{2, nullptr}))
            << part.count << " elements in runs of " << part.run;
    }
}

TYPED_TEST(CudaDigest, FindsAFlippedBit) {
    auto x = rounded<TypeParam>(random_floats(70'000, 15));
    const auto sum_of = [&] {
        std::vector<std::uint64_t> sum{0};
        ShimStream stream;
        digest(stream, {x.data(), 70'000, 0, 70'000, 70'000, sum.data()});
        return sum[0];
    };
    const std::uint64_t before = sum_of();
    for (const std::size_t byte : {std::size_t{0}, x.size(), x.size() * sizeof(TypeParam) - 1}) {
        auto* bytes = reinterpret_cast<unsigned char*>(x.data());
        bytes[byte] ^= 1;
        EXPECT_NE(sum_of(), before) << byte;
        bytes[byte] ^= 1;
    }
    EXPECT_EQ(sum_of(), before);
}

}  // namespace
}  // namespace skein::kernels
