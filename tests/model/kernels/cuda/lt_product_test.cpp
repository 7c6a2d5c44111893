#include "model/kernels/cuda/lt_product.h"

#include <gtest/gtest.h>

#include <array>

#include "model/base/error.h"

namespace skein::kernels::cuda {
namespace {

/// Places for operands; nothing is read from them.
alignas(64) std::array<float, 256> memory_a, memory_b, memory_c;

/// c: [5, 7] = op(a) · op(b) with k = 3, each row two elements longer than it must be.
GemmArgs five_by_seven(bool transpose_a, bool transpose_b) {
    GemmArgs args{.transpose_a = transpose_a, .transpose_b = transpose_b, .m = 5, .n = 7, .k = 3};
    args.a = memory_a.data(), args.lda = (transpose_a ? 5 : 3) + 2;
    args.b = memory_b.data(), args.ldb = (transpose_b ? 3 : 7) + 2;
    args.c = memory_c.data(), args.ldc = 7 + 2;
    return args;
}

TEST(LtProduct, OfRowMajorMatricesIsThatOfTheirTransposesInTheOtherOrder) {
    const LtCall plain = lt_call(five_by_seven(false, false), false);
    EXPECT_EQ(plain.a, memory_b.data());
    EXPECT_EQ(plain.b, memory_a.data());
    EXPECT_EQ(plain.c, memory_c.data());
    const LtProduct wanted{false,
                           false,
                           {DType::f32, 7, 3, 9, 16},  // b: [3, 7], row-major
                           {DType::f32, 3, 5, 5, 16},  // a: [5, 3]
                           {DType::f32, 7, 5, 9, 16},  // c: [5, 7]
                           false,
                           LtCompute::kFp32};
    EXPECT_EQ(plain.product, wanted) << text_of(plain.product);
    // linear: y = x · wᵀ
    const LtProduct linear = lt_call(five_by_seven(false, true), false).product;
    EXPECT_TRUE(linear.transpose_a);
    EXPECT_FALSE(linear.transpose_b);
    EXPECT_EQ(linear.a, (LtMatrix{DType::f32, 3, 7, 5, 16})) << text_of(linear);
    // a weight's gradient: dyᵀ · x
    const LtProduct gradient = lt_call(five_by_seven(true, false), false).product;
    EXPECT_FALSE(gradient.transpose_a);
    EXPECT_TRUE(gradient.transpose_b);
    EXPECT_EQ(gradient.b, (LtMatrix{DType::f32, 5, 3, 7, 16})) << text_of(gradient);
}

TEST(LtProduct, PromisesNoMoreThanAnAddressHoldsAndSixteenBytesAtMost) {
    GemmArgs args = five_by_seven(false, false);
    args.a = memory_a.data() + 1;
    args.b = memory_b.data() + 2;
    args.c = memory_c.data() + 4;
    LtProduct product = lt_call(args, false).product;
    EXPECT_EQ(product.b.alignment, 4);
    EXPECT_EQ(product.a.alignment, 8);
    EXPECT_EQ(product.c.alignment, 16);
    const Bf16* const halves = reinterpret_cast<const Bf16*>(memory_a.data());
    args.a = halves + 1;
    args.b = halves + 8;
    product = lt_call(args, false).product;
    EXPECT_EQ(product.b.alignment, 2);
    EXPECT_EQ(product.a.alignment, 16);
}

TEST(LtProduct, IsTheSameForOperandsElsewhereAndNotForAnotherLayout) {
    const GemmArgs args = five_by_seven(false, true);
    GemmArgs elsewhere = args;
    elsewhere.a = memory_a.data() + 8;
    EXPECT_EQ(lt_call(elsewhere, false).product, lt_call(args, false).product);
    GemmArgs other = args;
    ++other.ldc;
    EXPECT_NE(lt_call(other, false).product, lt_call(args, false).product);
    other = args;
    other.accumulate = true;
    EXPECT_NE(lt_call(other, false).product, lt_call(args, false).product);
    EXPECT_NE(lt_call(five_by_seven(false, false), false).product, lt_call(args, false).product);
}

TEST(LtProduct, IsOfTf32OnlyForFp32OnRequest) {
    GemmArgs args = five_by_seven(false, false);
    EXPECT_EQ(lt_call(args, false).product.compute, LtCompute::kFp32);
    EXPECT_EQ(lt_call(args, true).product.compute, LtCompute::kTf32);
    args.a = reinterpret_cast<const F16*>(memory_a.data());
    args.b = reinterpret_cast<const F16*>(memory_b.data());
    EXPECT_EQ(lt_call(args, true).product.compute, LtCompute::kFp32);
}

TEST(LtProduct, IsRefusedForOperandsThatDoNotGoTogether) {
    const GemmArgs args = five_by_seven(false, false);
    const auto refused = [](const GemmArgs& wrong) { EXPECT_THROW(lt_call(wrong, false), ShapeError); };
    GemmArgs wrong = args;
    wrong.lda = 2;
    refused(wrong);
    wrong = args;
    wrong.transpose_a = true, wrong.lda = 4;
    refused(wrong);
    wrong = args;
    wrong.ldc = 6;
    refused(wrong);
    wrong = args;
    wrong.a = reinterpret_cast<const Bf16*>(memory_a.data());
    refused(wrong);
    wrong = args;
    wrong.c = reinterpret_cast<Bf16*>(memory_c.data());
    refused(wrong);
    wrong = args;
    wrong.a = wrong.b = ConstOperand(memory_a.data(), DType::i32);
    refused(wrong);
    wrong = args;
    wrong.b = ConstOperand(reinterpret_cast<const char*>(memory_b.data()) + 2, DType::f32);
    refused(wrong);
}

TEST(LtProduct, SaysWhatItIsInAMessage) {
    GemmArgs args = five_by_seven(false, true);
    args.accumulate = true;
    EXPECT_EQ(
        text_of(lt_call(args, true).product),
        "f32 [3, 7] by 5 at 16 transposed · f32 [3, 5] by 5 at 16 added to f32 [7, 5] by 9 at 16, TF32");
}

}  // namespace
}  // namespace skein::kernels::cuda
