#include "model/kernels/digest.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>
#include <vector>

#include "model/tensor/layout.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;

template <class T>
class Digest : public ::testing::Test {};
using ElementTypes = ::testing::Types<float, Bf16, F16>;
TYPED_TEST_SUITE(Digest, ElementTypes);

template <class T>
std::uint64_t bits_of(T x) {
    if constexpr (sizeof(T) == 4)
        return std::bit_cast<std::uint32_t>(x);
    else
        return x.bits;
}

template <class T>
std::vector<T> random_in(std::int64_t count, std::uint32_t seed) {
    std::vector<T> out;
    for (const float value : random_floats(count, seed)) out.push_back(from_float<T>(value));
    return out;
}

template <class T>
std::uint64_t digest_of(const std::vector<T>& x, int threads = 1) {
    std::uint64_t sum = 0;
    const auto count = test::count(x);
    CpuStream stream{threads, nullptr};
    digest(stream, {x.data(), count, 0, count, count, &sum});
    return sum;
}

TYPED_TEST(Digest, IsTheSumOfItsElementsTermsForAnyThreads) {
    for (const std::int64_t count : {0, 1, 3, 4, 5, 1003, 200'001}) {
        const auto x = random_in<TypeParam>(count, 3);
        std::uint64_t wanted = 0;
        for (std::int64_t i = 0; i < count; ++i) wanted += digest_term(i, bits_of(at(x, i)));
        EXPECT_EQ(digest_of(x), wanted) << count;
        EXPECT_EQ(digest_of(x, 3), wanted) << count;
    }
}

TEST(DigestTerm, IsSplitMix64) {
    // the first outputs of SplitMix64 from state 0, as its authors' code gives them
    EXPECT_EQ(digest_term(0, 0), 0xE220A8397B1DCDAFu);
    EXPECT_EQ(digest_term(1, 0), 0x6E789E6AA1B965F4u);
    EXPECT_EQ(digest_term(2, 0), 0x06C45D188009454Fu);
}

TYPED_TEST(Digest, FindsEveryFlippedBit) {
    auto x = random_in<TypeParam>(37, 5);
    std::set<std::uint64_t> sums{digest_of(x)};
    for (std::size_t byte = 0; byte < x.size() * sizeof(TypeParam); ++byte)
        for (int bit = 0; bit < 8; ++bit) {
            auto* bytes = reinterpret_cast<unsigned char*>(x.data());
            bytes[byte] = static_cast<unsigned char>(bytes[byte] ^ 1 << bit);
            EXPECT_TRUE(sums.insert(digest_of(x)).second) << "bit " << bit << " of byte " << byte;
            bytes[byte] = static_cast<unsigned char>(bytes[byte] ^ 1 << bit);
        }
}

TYPED_TEST(Digest, FindsWhatHasMoved) {
    auto x = random_in<TypeParam>(100, 7);
    const std::uint64_t before = digest_of(x);
    std::swap(x[3], x[64]);
    EXPECT_NE(digest_of(x), before);
    std::swap(x[3], x[64]);
    x.push_back(from_float<TypeParam>(0.0f));
    const std::uint64_t longer = digest_of(x);
    EXPECT_NE(longer, before) << "a zero more";
    x.back() = from_float<TypeParam>(-0.0f);
    EXPECT_NE(digest_of(x), longer);
}

TYPED_TEST(Digest, PartsOfEveryLayoutAddUpToTheWhole) {
    const Shape shape{6, 10, 7};
    const auto whole = random_in<TypeParam>(shape.elements(), 9);
    for (int axis = 0; axis < 3; ++axis)
        for (const int parts : {1, 2, 3, 8}) {
            std::uint64_t sum = 0;
            for (int part = 0; part < parts; ++part) {
                const Layout layout = Layout::split(axis, parts, part);
                std::int64_t outer = 1, inner = 1;
                for (int i = 0; i < axis; ++i) outer *= shape[i];
                for (int i = axis + 1; i < 3; ++i) inner *= shape[i];
                const std::int64_t run = (layout.end(shape) - layout.begin(shape)) * inner,
                                   stride = shape[axis] * inner, first = layout.begin(shape) * inner;
                std::vector<TypeParam> local;
                for (std::int64_t k = 0; k < outer; ++k)
                    for (std::int64_t j = 0; j < run; ++j) local.push_back(at(whole, first + k * stride + j));
                CpuStream stream{2, nullptr};
                digest(stream, {local.data(), test::count(local), first, run, stride, &sum});
            }
            EXPECT_EQ(sum, digest_of(whole)) << "axis " << axis << " in " << parts;
        }
}

TYPED_TEST(Digest, AnyPieceOfAPartAddsUpWithTheRest) {
    const auto whole = random_in<TypeParam>(70'000, 11);
    std::uint64_t sum = 0;
    CpuStream stream{1, nullptr};
    for (const auto& [begin, end] :
         {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 65'540}, {65'540, 70'000}})
        digest(stream, {whole.data() + begin, end - begin, begin, end - begin, end - begin, &sum});
    EXPECT_EQ(sum, digest_of(whole));
}

}  // namespace
}  // namespace skein::kernels
