#include "trainer/utilisation.h"

#include <gtest/gtest.h>

#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"

namespace skein {
namespace {

ModelConfig gpt2() {
    ModelConfig model;
    model.layers = model.heads = 12;
    model.width = 768;
    model.context = 1024;
    model.vocabulary = 50257;
    return model;
}

// nanoGPT counts all parameters of GPT-2 but its positions, 124,439,808 - 1024 · 768 = 123,653,376, and has
// 6 N + 12 · 12 · 768 · 1024 = 855,166,464. Of its N, these are no products: a layer's biases of 2304, 768,
// 3072 and 768 and its norms' 4 · 768, and the last norm's 2 · 768, 121,344 in all.
TEST(ModelFlops, OfGpt2AreNanoGptsWithoutBiasesAndNorms) {
    EXPECT_EQ(model_flops_per_token(gpt2(), 1024), 855'166'464.0 - 6.0 * 121'344.0);
}

TEST(ModelFlops, CountEveryMatrixOnceWhateverIsTied) {
    ModelConfig tied = gpt2(), untied = gpt2();
    untied.tie_embeddings = false;
    EXPECT_EQ(model_flops_per_token(tied, 1024), model_flops_per_token(untied, 1024));
}

/// Elements of the matrices, without the tables of embeddings and positions.
std::int64_t weights_of(const ParameterList& parameters) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Parameter& parameter = parameters[i];
        const bool is_table = parameter.name.find("embedding") != std::string::npos ||
                              parameter.name.find("position") != std::string::npos;
        if (parameter.name.ends_with("weight") && parameter.global_shape.rank() > 1 && !is_table)
            sum += parameter.global_shape.elements();
    }
    return sum;
}

ModelConfig small() {
    ModelConfig model;
    model.layers = 3;
    model.heads = 4;
    model.key_value_heads = 2;
    model.width = 16;
    model.feed_forward = 40;
    model.context = 8;
    model.vocabulary = 50;
    return model;
}

TEST(ModelFlops, AreThoseOfTheModelsOwnMatrices) {
    Stream stream(1);
    const Transformer decoder(stream, small(), 1);
    const double head = 16.0 * 50.0;
    EXPECT_EQ(model_flops_per_token(small(), 8),
              6.0 * (static_cast<double>(weights_of(decoder.parameters())) + head) + 12.0 * 3 * 16 * 8);

    ModelConfig pairs = small();
    pairs.kind = ModelKind::kEncoderDecoder;
    pairs.encoder_layers = 2;
    const EncoderDecoder translator(stream, pairs, 1);
    // as many source tokens as target tokens: each goes through its own side's matrices once
    EXPECT_EQ(model_flops_per_token(pairs, 8, 8),
              6.0 * (static_cast<double>(weights_of(translator.parameters())) + head) +
                  12.0 * 16 * (3 * 8 + 3 * 8 + 2 * 8));
}

TEST(ModelFlops, SourceTokensGoThroughTheEncoderAndTheCrossAttentionsKeysAndValues) {
    ModelConfig pairs = small();
    pairs.kind = ModelKind::kEncoderDecoder;
    pairs.encoder_layers = 2;
    const double block = 16 * (16 + 8 + 8 + 16) + 2 * 16 * 40, cross = 16 * (8 + 8);
    // a pair of 10 target and 30 source tokens
    const double of_the_sources = 30 * (6 * (2 * block + 3 * cross) + 12 * 16 * (2 * 30));
    const double without = 10 * (6 * (3 * (block + 2 * 16 * 16) + 16 * 50) + 12 * 16 * (3 * 10));
    const double cross_attention = 10 * 12 * 16 * (3 * 30);
    EXPECT_DOUBLE_EQ(10 * model_flops_per_token(pairs, 10, 30), of_the_sources + without + cross_attention);
    EXPECT_DOUBLE_EQ(10 * model_flops_per_token(pairs, 10, 0), without);
}

TEST(KnownPeak, IsOfDenseProductsByPrecision) {
    EXPECT_EQ(known_peak_flops("NVIDIA A100-SXM4-80GB", Precision::kBf16), 312e12);
    EXPECT_EQ(known_peak_flops("NVIDIA A100-SXM4-80GB", Precision::kFp32), 19.5e12);
    EXPECT_EQ(known_peak_flops("NVIDIA H100 80GB HBM3", Precision::kBf16), 989.4e12);
    EXPECT_EQ(known_peak_flops("NVIDIA H100 PCIe", Precision::kFp16), 756e12);
    EXPECT_EQ(known_peak_flops("NVIDIA H200", Precision::kBf16), 989.4e12);
    EXPECT_EQ(known_peak_flops("Tesla V100-SXM2-16GB", Precision::kFp16), 125e12);
    EXPECT_EQ(known_peak_flops("NVIDIA GeForce RTX 4090", Precision::kBf16), 165.2e12);
}

TEST(KnownPeak, IsNoneWhereNoDataSheetHasIt) {
    for (const char* name :
         {"", "NVIDIA", "AMD EPYC 7B13", "NVIDIA H300", "NVIDIA A10G", "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
          "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4090 Laptop GPU", "H100"})
        for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kFp16})
            EXPECT_FALSE(known_peak_flops(name, precision)) << name;
    EXPECT_FALSE(known_peak_flops("Tesla V100-SXM2-16GB", Precision::kBf16)) << "it has no such products";
}

}  // namespace
}  // namespace skein
