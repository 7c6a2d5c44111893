// How the CPU runs kernels on 16-bit operands.
#include "model/kernels/cpu/fp32_operands.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "model/kernels/cross_entropy.h"
#include "model/kernels/gemm.h"
#include "model/kernels/layer_norm.h"
#include "tests/model/kernels/adam_list.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

template <class T>
class Fp32OperandsOf : public testing::Test {
  protected:
    static std::vector<T> rounded(const std::vector<float>& values) {
        std::vector<T> out;
        for (const float value : values) out.push_back(from_float<T>(value));
        return out;
    }
    static std::vector<T> random(std::int64_t count, std::uint32_t seed) {
        return rounded(test::random_floats(count, seed));
    }
    static std::vector<float> widened(const std::vector<T>& values) {
        std::vector<float> out;
        for (const T value : values) out.push_back(to_float(value));
        return out;
    }

    Pool pool_;
    CpuStream stream_{2, &pool_};
};
using Types = testing::Types<Bf16, F16>;
TYPED_TEST_SUITE(Fp32OperandsOf, Types);

TYPED_TEST(Fp32OperandsOf, RunsAreConvertedAsElementsAre) {
    std::vector<TypeParam> all;
    for (std::uint32_t bits = 0; bits < 65536; ++bits)
        all.push_back(TypeParam{static_cast<std::uint16_t>(bits)});
    std::vector<float> wide(all.size());
    widen(this->stream_, all.data(), wide.data(), test::count(wide));
    for (std::size_t i = 0; i < all.size(); ++i) {
        const float wanted = to_float(all[i]);
        if (std::isnan(wanted))
            ASSERT_TRUE(std::isnan(wide[i])) << i;
        else
            ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(wanted)) << i;
    }

    std::mt19937 random(1);
    std::vector<float> any(100'003);  // several blocks, and no whole number of eights
    for (float& x : any) x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    for (std::size_t i = 0; i < any.size(); i += 2)  // half of them where fp16 is finite, or subnormal
        any[i] = std::ldexp(1.0f + static_cast<float>(random() % 65536) * 0x1p-16f,
                            static_cast<int>(random() % 44) - 28) *
                 (random() % 2 == 0 ? 1.0f : -1.0f);
    any[5] = std::nanf("");
    any[6] = -std::nanf("7");
    std::vector<TypeParam> narrowed(any.size());
    narrow(this->stream_, any.data(), narrowed.data(), test::count(any));
    for (std::size_t i = 0; i < any.size(); ++i)
        ASSERT_EQ(narrowed[i].bits, from_float<TypeParam>(any[i]).bits) << any[i];
}

TYPED_TEST(Fp32OperandsOf, RowsAreCopiedWithoutWhatLiesBetweenThem) {
    const std::vector<TypeParam> before = this->random(5 * 7, 1);
    std::vector<TypeParam> y = before;
    Fp32Operands fp32(this->stream_);
    std::int64_t stride = 7;
    const Operand copy = fp32.write(y.data() + 1, 5, 4, stride, true);
    ASSERT_EQ(stride, 4);
    for (std::int64_t row = 0; row < 5; ++row)
        for (std::int64_t column = 0; column < 4; ++column) {
            float& x = copy.f32()[row * 4 + column];
            EXPECT_EQ(x, to_float(test::at(before, row * 7 + 1 + column)));
            x = 1.0f + 0x1p-20f;
        }
    fp32.finish();
    for (std::int64_t i = 0; i < 35; ++i) {
        const bool inside = i % 7 >= 1 && i % 7 < 5;
        EXPECT_EQ(test::at(y, i), inside ? from_float<TypeParam>(1.0f) : test::at(before, i)) << i;
    }
}

TYPED_TEST(Fp32OperandsOf, AnFp32OperandStandsForItself) {
    std::vector<float> x(12);
    Fp32Operands fp32(this->stream_);
    std::int64_t stride = 6;
    EXPECT_EQ(fp32.read(x.data(), 12).data, x.data());
    EXPECT_EQ(fp32.write(x.data(), 2, 4, stride).data, x.data());
    EXPECT_EQ(stride, 6);
    EXPECT_FALSE(fp32.read(nullptr, 12));
    EXPECT_EQ(this->pool_.statistics().system_calls, 0u);
}

// The CPU's kernels are the fp32 ones between two conversions, so these are equal bits.

TYPED_TEST(Fp32OperandsOf, AProductIsRoundedOnceAlsoWhereItIsAdded) {
    constexpr std::int64_t kM = 5, kN = 9, kK = 13, kStride = 17;
    const std::vector<TypeParam> a = this->random(kM * kStride, 1), b = this->random(kN * kStride, 2),
                                 c = this->random(kM * kStride, 3);
    const std::vector<float> wide_a = this->widened(a), wide_b = this->widened(b);
    for (const bool accumulate : {false, true}) {
        std::vector<TypeParam> found = c;
        std::vector<float> wanted = this->widened(c), mixed = wanted;
        GemmArgs args;
        args.transpose_b = true;
        args.m = kM, args.n = kN, args.k = kK;
        args.lda = args.ldb = args.ldc = kStride;
        args.accumulate = accumulate;
        args.a = a.data(), args.b = b.data(), args.c = found.data();
        gemm(this->stream_, args);
        args.c = mixed.data();
        gemm(this->stream_, args);
        args.a = wide_a.data(), args.b = wide_b.data(), args.c = wanted.data();
        gemm(this->stream_, args);
        EXPECT_EQ(mixed, wanted) << "16-bit operands, fp32 sums";
        EXPECT_EQ(found, this->rounded(wanted));
    }
}

TYPED_TEST(Fp32OperandsOf, ANormIsOfTheSumAsItIsStored) {
    constexpr std::int64_t kRows = 3, kWidth = 21;
    const std::vector<TypeParam> x = this->random(kRows * kWidth, 1), delta = this->random(kRows * kWidth, 2);
    const std::vector<float> gamma = test::random_floats(kWidth, 3);
    std::vector<TypeParam> sum(x.size()), y(x.size()), again(x.size());
    std::vector<float> mean(kRows), rstd(kRows), mean_again(kRows), rstd_again(kRows);
    LayerNormArgs args{.rows = kRows, .width = kWidth};
    args.x = x.data(), args.delta = delta.data(), args.sum = sum.data(), args.y = y.data();
    args.gamma = gamma.data(), args.mean = mean.data(), args.rstd = rstd.data();
    layer_norm(this->stream_, args);
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(sum[i], from_float<TypeParam>(to_float(x[i]) + to_float(delta[i])));
    args.x = sum.data(), args.delta = nullptr, args.y = again.data();
    args.mean = mean_again.data(), args.rstd = rstd_again.data();
    layer_norm(this->stream_, args);
    EXPECT_EQ(again, y);
    EXPECT_EQ(mean_again, mean);
    EXPECT_EQ(rstd_again, rstd);
}

TYPED_TEST(Fp32OperandsOf, TheGradientOfLogitsIsRoundedFromThatInFp32) {
    constexpr std::int64_t kRows = 6, kVocabulary = 19;
    const std::vector<float> logits = test::random_floats(kRows * kVocabulary, 1);
    const std::vector<std::int32_t> targets{3, -1, 0, 18, 7, 7};
    std::vector<double> loss(kRows), nll(kRows), loss_again(kRows);
    std::vector<std::int64_t> correct(kRows);
    CrossEntropyArgs args{.rows = kRows, .vocabulary = kVocabulary};
    args.targets = targets.data(), args.smoothing = 0.1, args.gradient_scale = 0.25f;
    args.nll = nll.data(), args.correct = correct.data();
    std::vector<float> in_place = logits, overwritten = logits, beside(logits.size());
    std::vector<TypeParam> found(logits.size());
    args.logits = in_place.data(), args.gradient = in_place.data(), args.loss = loss.data();
    cross_entropy(this->stream_, args);
    args.logits = overwritten.data(), args.gradient = found.data(), args.loss = loss_again.data();
    cross_entropy(this->stream_, args);
    EXPECT_EQ(found, this->rounded(in_place));
    EXPECT_EQ(loss_again, loss);
    overwritten = logits;
    args.logits = overwritten.data(), args.gradient = beside.data();
    cross_entropy(this->stream_, args);
    EXPECT_EQ(beside, in_place);
}

TYPED_TEST(Fp32OperandsOf, AdamRefreshesTheCopyOfWhatItUpdates) {
    const std::int64_t count = 140'000;  // several blocks
    std::vector<float> p = test::random_floats(count, 1), plain = p;
    const std::vector<float> g = test::random_floats(count, 2);
    std::vector<float> m(p.size()), v(p.size()), m2(p.size()), v2(p.size());
    std::vector<TypeParam> copy(p.size());
    StepEnd end;
    end.rate = 0.1f;
    const test::AdamTensors without({{count, plain.data(), nullptr, g.data(), m.data(), v.data()}});
    adam(this->stream_, {without.list, &end});
    const test::AdamTensors with({{count, p.data(), copy.data(), g.data(), m2.data(), v2.data()}},
                                 DTypeOf<TypeParam>::value);
    adam(this->stream_, {with.list, &end});
    EXPECT_EQ(p, plain) << "the master weight is what it would be without a copy";
    EXPECT_EQ(copy, this->rounded(p));
}

}  // namespace
}  // namespace skein::kernels
