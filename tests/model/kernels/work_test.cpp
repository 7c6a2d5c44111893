// What kernels are said to move and compute, against counts by hand.
#include "model/kernels/work.h"

#include <gtest/gtest.h>

#include <vector>

namespace skein::kernels {
namespace {

// Nothing is read through them.
float f32_place[1];
Bf16 bf16_place[1];
std::int32_t ids[1];

/// [5, 7] of bf16 operands.
GemmArgs product_in(auto& c) {
    GemmArgs args;
    args.m = 5;
    args.n = 7;
    args.k = 11;
    args.a = bf16_place;
    args.b = bf16_place;
    args.c = c;
    return args;
}

TEST(Work, OfAProductIsItsThreeMatrices) {
    GemmArgs args = product_in(bf16_place);
    args.transpose_b = true;
    EXPECT_EQ(work_of(args).name, "gemm forward");
    EXPECT_EQ(work_of(args).flops, 2 * 5 * 7 * 11);
    EXPECT_EQ(work_of(args).bytes, 2 * (55 + 77 + 35));

    args.bias = f32_place;
    args.epilogue = Epilogue::kGelu;
    args.aux = bf16_place;
    EXPECT_EQ(work_of(args).name, "gemm forward, activation");
    EXPECT_EQ(work_of(args).bytes, 2 * (55 + 77 + 35 + 35) + 4 * 7);
}

TEST(Work, OfAProductThatIsAddedReadsTheResultAsWell) {
    GemmArgs args = product_in(f32_place);
    args.transpose_a = args.accumulate = true;
    EXPECT_EQ(work_of(args).name, "gemm wgrad");
    EXPECT_EQ(work_of(args, ProductOf::kOutputHead).name, "head wgrad");
    EXPECT_EQ(work_of(args).bytes, 2 * (55 + 77) + 2 * 4 * 35);
}

AttentionArgs attention_args(std::int64_t queries, std::int64_t keys, std::int64_t offset, bool causal) {
    AttentionArgs args;
    args.batch = 2;
    args.query_length = queries;
    args.key_length = keys;
    args.heads = 6;
    args.key_value_heads = 3;
    args.head_width = 8;
    args.causal = causal;
    args.query_offset = offset;
    args.query = args.key = args.value = f32_place;
    args.output = f32_place;
    return args;
}

TEST(Work, OfAttentionCountsThePairsThatSeeEachOther) {
    for (const bool causal : {false, true})
        for (const std::int64_t queries : {1, 4, 9})
            for (const std::int64_t keys : {1, 4, 9})
                for (const std::int64_t offset : {0, 2, 20}) {
                    SCOPED_TRACE(::testing::Message() << queries << " queries from " << offset << " on, "
                                                      << keys << " keys, causal " << causal);
                    int pairs = 0;
                    for (std::int64_t i = 0; i < queries; ++i)
                        for (std::int64_t j = 0; j < keys; ++j) pairs += !causal || j <= i + offset ? 1 : 0;
                    const AttentionArgs args = attention_args(queries, keys, offset, causal);
                    // scores and output, of 2 samples and 6 heads 8 wide
                    EXPECT_EQ(work_of(args).flops, 2 * 2 * pairs * 2 * 6 * 8);
                    AttentionBackwardArgs back;
                    back.forward = args;
                    EXPECT_EQ(work_of(back).flops, 5 * 2 * pairs * 2 * 6 * 8);
                }
}

TEST(Work, OfAttentionMovesEachOperandOnce) {
    AttentionArgs args = attention_args(4, 9, 0, false);
    const int query = 2 * 4 * 6 * 8, key = 2 * 9 * 3 * 8;
    EXPECT_EQ(work_of(args).bytes, 4 * (2 * query + 2 * key));
    args.log_sum_exp = f32_place;
    EXPECT_EQ(work_of(args).bytes, 4 * (2 * query + 2 * key + 2 * 6 * 4));
    AttentionBackwardArgs back;
    back.forward = args;
    back.output_gradient = f32_place;
    back.query_gradient = back.key_gradient = back.value_gradient = f32_place;
    EXPECT_EQ(work_of(back).bytes, work_of(args).bytes + 4 * (2 * query + 2 * key));
    back.forward.bias = f32_place;
    back.bias_gradient = f32_place;
    EXPECT_EQ(work_of(back).bytes, work_of(args).bytes + 4 * (2 * query + 2 * key + 2 * 6 * 4 * 9));
}

TEST(Work, OfANormReadsTheResidualWhereThereIsOne) {
    LayerNormArgs args{.rows = 10, .width = 16};
    args.x = bf16_place;
    args.y = bf16_place;
    args.gamma = args.beta = f32_place;
    const int statistics = 10 * 8, gains = 2 * 4 * 16;
    EXPECT_EQ(work_of(args).bytes, 2 * 2 * 160 + statistics + gains);
    args.delta = bf16_place;
    args.sum = bf16_place;
    EXPECT_EQ(work_of(args).bytes, 4 * 2 * 160 + statistics + gains);

    LayerNormBackwardArgs back{.rows = 10, .width = 16};
    back.sum = back.dy = bf16_place;
    back.dsum = bf16_place;
    back.gamma = f32_place;
    back.dgamma = back.dbeta = f32_place;
    EXPECT_EQ(work_of(back).bytes, 3 * 2 * 160 + statistics + 3 * 4 * 16);
    back.accumulate_sum = back.accumulate_gamma = true;
    EXPECT_EQ(work_of(back).bytes, 4 * 2 * 160 + statistics + 4 * 4 * 16);
}

TEST(Work, OfATableIsTheRowsThatAreNamed) {
    EmbeddingArgs args{.rows = 6, .width = 16, .vocabulary = 100};
    args.ids = ids;
    args.table = f32_place;
    args.y = f32_place;
    EXPECT_EQ(work_of(args).bytes, 4 * (6 * 16 + 6 * 16 + 6));
    EmbeddingBackwardArgs back{.rows = 6, .width = 16, .vocabulary = 100, .context = 9};
    back.dy = f32_place;
    back.dtable = f32_place;
    EXPECT_EQ(work_of(back).bytes, 4 * (6 * 16 + 6 + 100 * 16)) << "rows that no id names become zero";
    back.accumulate_table = true;
    EXPECT_EQ(work_of(back).bytes, 4 * (6 * 16 + 6 + 2 * 6 * 16));
}

TEST(Work, OfTheUpdateFollowsTheListOfTensors) {
    std::vector<AdamTensor> tensors(2);
    tensors[0].count = 100;
    tensors[0].copy = bf16_place;
    tensors[0].parameter = f32_place;
    tensors[1].count = 10;
    tensors[1].sent = f32_place;
    EXPECT_EQ(adam_work(tensors, DType::bf16).bytes, 28 * 110 + 2 * 100 + 4 * 10);
    EXPECT_EQ(take_work(tensors, DType::bf16).bytes, (4 + 4 + 2) * 100 + 4 * 10);
    EXPECT_EQ(square_sums_work(tensors).bytes, 4 * 110);
}

TEST(Work, OfElementwiseKernelsIsWhatTheyReadAndWrite) {
    const ConstOperand f32 = f32_place, bf16 = bf16_place;
    EXPECT_EQ(copy_or_add_work(f32, bf16, 10, false).name, "convert");
    EXPECT_EQ(copy_or_add_work(f32, bf16, 10, false).bytes, 60);
    EXPECT_EQ(copy_or_add_work(bf16, f32, 10, true).name, "add");
    EXPECT_EQ(copy_or_add_work(bf16, f32, 10, true).bytes, 100);
    EXPECT_EQ(dropout_work(3, 5, f32, f32).bytes, 120);
    EXPECT_EQ(column_sums_work(3, 5, f32, false).bytes, 80);
    CrossEntropyArgs loss{.rows = 3, .vocabulary = 50};
    EXPECT_EQ(work_of(loss).bytes, 3 * (4 * 50 + 28));
    loss.gradient = bf16_place;
    EXPECT_EQ(work_of(loss).bytes, 3 * (6 * 50 + 28));
}

}  // namespace
}  // namespace skein::kernels
