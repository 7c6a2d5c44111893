// Which parameters the encoder-decoder has, how many, and how they start.
#include <algorithm>
#include <cmath>
#include <map>

#include "tests/model/nn/small_pair_model.h"
#include "tests/support/gradient_check.h"

namespace skein::test {
namespace {

/// Elements of the parameters whose names start with `prefix`.
std::int64_t elements_of(const EncoderDecoder& model, const std::string& prefix) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < model.parameters().size(); ++i)
        if (model.parameters()[i].name.starts_with(prefix))
            total += model.parameters()[i].global_shape.elements();
    return total;
}

/// One layer and a small table stand for all of the paper's model.
std::int64_t paper_parameters(std::int64_t width, std::int64_t heads, std::int64_t feed_forward) {
    ModelConfig config;
    config.kind = ModelKind::kEncoderDecoder;
    config.norm = NormPlace::kPost, config.position = PositionKind::kSinusoidal;
    config.layers = 1, config.heads = heads, config.width = width, config.feed_forward = feed_forward;
    config.context = 2, config.vocabulary = 3;
    Stream stream(test_gpu(), 2);
    const EncoderDecoder model(stream, config, 1);
    const std::int64_t encoder = elements_of(model, "encoder.0."), decoder = elements_of(model, "decoder.0."),
                       table = elements_of(model, "token_embedding");
    EXPECT_EQ(model.parameters().elements(), encoder + decoder + table);
    return 6 * (encoder + decoder) + table / 3 * 37000;
}

TEST(EncoderDecoder, HasThePapersNumberOfParameters) {
    EXPECT_EQ(paper_parameters(512, 8, 2048), 63'082'496);
    EXPECT_EQ(paper_parameters(1024, 16, 4096), 214'245'376);
}

TEST(EncoderDecoder, OptionsDecideWhichParametersThereAre) {
    Stream stream(test_gpu(), 1);
    const auto tables = [&](const ModelConfig& config) {
        const EncoderDecoder model(stream, config, 1);
        std::map<std::string, std::int64_t> rows;
        for (std::size_t i = 0; i < model.parameters().size(); ++i) {
            const Parameter& parameter = model.parameters()[i];
            EXPECT_EQ(parameter.number, i);
            if (parameter.name.find("embedding") != std::string::npos || parameter.name.starts_with("head"))
                rows[parameter.name] = parameter.global_shape[0];
        }
        return rows;
    };
    using Rows = std::map<std::string, std::int64_t>;
    ModelConfig config = small_pair_config();
    EXPECT_EQ(tables(config), (Rows{{"token_embedding.weight", 17}}));
    config.tie_embeddings = false;
    EXPECT_EQ(tables(config), (Rows{{"token_embedding.weight", 17}, {"head.weight", 17}}));
    config.share_embeddings = false, config.source_vocabulary = 23;
    EXPECT_EQ(tables(config),
              (Rows{{"source_embedding.weight", 23}, {"target_embedding.weight", 17}, {"head.weight", 17}}));
    config.tie_embeddings = true, config.position = PositionKind::kLearned;
    EXPECT_EQ(tables(config), (Rows{{"source_embedding.weight", 23},
                                    {"target_embedding.weight", 17},
                                    {"source_position_embedding.weight", 9},
                                    {"target_position_embedding.weight", 9}}));
    config.encoder_layers = 3, config.decoder_layers = 0;
    const EncoderDecoder post(stream, config, 1);
    EXPECT_GT(elements_of(post, "encoder.2."), 0);
    EXPECT_EQ(elements_of(post, "encoder.3."), 0);
    EXPECT_GT(elements_of(post, "decoder.1."), 0);
    EXPECT_EQ(elements_of(post, "decoder.2."), 0);
    EXPECT_EQ(elements_of(post, "encoder.norm.") + elements_of(post, "decoder.norm."), 0);
    config.norm = NormPlace::kPre;
    const EncoderDecoder pre(stream, config, 1);
    EXPECT_EQ(elements_of(pre, "encoder.norm."), 2 * 12);
    EXPECT_EQ(elements_of(pre, "decoder.norm."), 2 * 12);
}

TEST(EncoderDecoder, StartsWithXavierMatricesAndTablesOfUnitRows) {
    ModelConfig config = small_pair_config();
    config.heads = 4, config.width = 128, config.feed_forward = 300, config.vocabulary = 500;
    config.share_embeddings = config.tie_embeddings = false;
    for (const std::int64_t key_value_heads : {0, 1}) {
        config.key_value_heads = key_value_heads;
        Stream stream(test_gpu(), 2);
        const EncoderDecoder model(stream, config, 5);
        for (std::size_t i = 0; i < model.parameters().size(); ++i) {
            const Parameter& parameter = model.parameters()[i];
            const std::string& name = parameter.name;
            SCOPED_TRACE(name);
            const std::vector<float> values = floats_of(stream, parameter.leaf.value);
            if (name.ends_with(".bias") || name.find("norm") != std::string::npos) {
                EXPECT_EQ(values, std::vector<float>(values.size(), name.ends_with(".bias") ? 0.0f : 1.0f));
                continue;
            }
            double square = 0.0, largest = 0.0;
            for (const float value : values) {
                square += static_cast<double>(value) * static_cast<double>(value) /
                          static_cast<double>(values.size());
                largest = std::max(largest, std::abs(static_cast<double>(value)));
            }
            const auto elements = static_cast<double>(values.size());
            if (name.find("embedding") != std::string::npos) {
                // five standard errors of a mean square: its relative deviation is sqrt(2 / n)
                EXPECT_NEAR(square * 128, 1.0, 5.0 * std::sqrt(2.0 / elements));
                continue;
            }
            // q, k and v are matrices of their own, though they lie in one tensor
            const std::int64_t packed = name.find("qkv") != std::string::npos         ? 3
                                        : name.find("key_value") != std::string::npos ? 2
                                                                                      : 1;
            const Shape& shape = parameter.global_shape;
            const std::int64_t in = shape[shape.rank() - 1];
            const auto fans = static_cast<double>(shape.elements() / in / packed + in);
            const double bound = std::sqrt(6.0 / fans);
            EXPECT_LE(largest, bound);
            EXPECT_GT(largest, 0.99 * bound);
            EXPECT_NEAR(square, bound * bound / 3.0, 5.0 * bound * bound * std::sqrt(4.0 / 45.0 / elements));
        }
    }
}

}  // namespace
}  // namespace skein::test
