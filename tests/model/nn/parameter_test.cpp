#include "model/nn/parameter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "model/base/error.h"
#include "tests/model/nn/small_model.h"

namespace skein::test {
namespace {

std::vector<float> values_of(Stream& stream, const Parameter& parameter) {
    return floats_of(stream, parameter.leaf.value);
}

std::vector<float> initial(InitialValues kind, std::uint64_t seed, std::uint32_t number, std::int64_t first,
                           std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    CpuStream cpu;
    const PhiloxKey key = philox_key(seed, RandomPurpose::kInitialValues, 0, number);
    kernels::fill_initial_values(cpu, {kind.kind, kind.scale, key, first, count, values.data()});
    return values;
}

/// Mean and deviation within five standard errors, and a tail as the distribution has it.
void expect_normal(const std::vector<float>& values, double deviation) {
    const auto n = static_cast<double>(values.size());
    double mean = 0.0, square = 0.0, outside = 0.0;
    for (const float value : values) {
        const double x = static_cast<double>(value);
        mean += x / n;
        square += x * x / n;
        outside += (std::abs(x) > 2.0 * deviation) / n;
    }
    EXPECT_NEAR(mean, 0.0, 5.0 * deviation / std::sqrt(n));
    EXPECT_NEAR(std::sqrt(square), deviation, 5.0 * deviation / std::sqrt(2.0 * n));
    EXPECT_NEAR(outside, 0.0455, 5.0 * std::sqrt(0.0455 / n));
}

TEST(InitialValues, AreAFunctionOfTheGlobalIndex) {
    for (const InitialValues kind : {InitialValues::normal(0.02), InitialValues::xavier_uniform(10, 20)}) {
        const std::vector<float> whole = initial(kind, 7, 3, 0, 1000);
        for (const std::int64_t first : {0, 1, 2, 3, 501})
            EXPECT_EQ(initial(kind, 7, 3, first, 333),
                      std::vector<float>(whole.begin() + first, whole.begin() + first + 333));
        EXPECT_NE(initial(kind, 8, 3, 0, 1000), whole) << "another seed";
        EXPECT_NE(initial(kind, 7, 4, 0, 1000), whole) << "another parameter";
    }
}

TEST(InitialValues, HaveTheDistributionAskedFor) {
    expect_normal(initial(InitialValues::normal(0.02), 1, 0, 0, 200'000), 0.02);
    const double bound = std::sqrt(6.0 / 30.0);
    const std::vector<float> uniform = initial(InitialValues::xavier_uniform(10, 20), 1, 0, 0, 200'000);
    double square = 0.0, largest = 0.0;
    for (const float value : uniform) {
        square += static_cast<double>(value) * static_cast<double>(value) / 200'000;
        largest = std::max(largest, std::abs(static_cast<double>(value)));
    }
    EXPECT_LE(largest, bound);
    EXPECT_GT(largest, 0.999 * bound);
    EXPECT_NEAR(square, bound * bound / 3.0, 5.0 * bound * bound * std::sqrt(4.0 / 45.0 / 200'000));
    EXPECT_EQ(initial(InitialValues::zeros(), 1, 0, 5, 3), std::vector<float>(3, 0.0f));
    EXPECT_EQ(initial(InitialValues::ones(), 1, 0, 5, 3), std::vector<float>(3, 1.0f));
}

TEST(ParameterList, SlicesOfEverySplitAreSlicesOfTheWhole) {
    Stream stream(test_gpu(), 2);
    const Shape shape{5, 7, 6};
    for (const InitialValues kind : {InitialValues::normal(0.02), InitialValues::xavier_uniform(10, 20)}) {
        ParameterList whole_list;
        const std::vector<float> whole = values_of(stream, whole_list.add(stream, 11, "w", shape, kind));
        for (int axis = 0; axis < 3; ++axis)
            for (int part = 0; part < 3; ++part) {
                ParameterList list;
                const Layout layout = Layout::split(axis, 3, part);
                const Parameter& slice = list.add(stream, 11, "w", shape, kind, layout);
                ASSERT_EQ(slice.leaf.value.shape(), layout.local(shape));
                const Shape local = slice.leaf.value.shape();
                const std::vector<float> values = values_of(stream, slice);
                std::size_t i = 0;
                for (std::int64_t x = 0; x < local[0]; ++x)
                    for (std::int64_t y = 0; y < local[1]; ++y)
                        for (std::int64_t z = 0; z < local[2]; ++z, ++i) {
                            std::int64_t global[3] = {x, y, z};
                            global[axis] += layout.begin(shape);
                            ASSERT_EQ(values[i], at(whole, (global[0] * 7 + global[1]) * 6 + global[2]));
                        }
            }
    }
}

TEST(ParameterList, StartsTheSameForAnyNumberOfThreads) {
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
        Stream stream(test_gpu(), threads);
        ParameterList list;
        const std::vector<float> values = values_of(
            stream, list.add(stream, 11, "w", {700, 211}, InitialValues::normal(1.0)));  // several blocks
        if (threads == 1) first = values;
        EXPECT_EQ(values, first);
    }
}

/// How many elements the parameters whose names start with `prefix` have.
std::int64_t elements_of(const Transformer& model, const std::string& prefix) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < model.parameters().size(); ++i)
        if (model.parameters()[i].name.starts_with(prefix))
            total += model.parameters()[i].global_shape.elements();
    return total;
}

TEST(Transformer, HasGpt2sNumberOfParameters) {
    // one layer and small tables stand for all: 124,439,808 floats would be half a gigabyte
    ModelConfig config;
    config.layers = 1, config.heads = 12, config.width = 768, config.context = 2, config.vocabulary = 3;
    Stream stream(test_gpu(), 2);
    const Transformer model(stream, config, 1);
    const std::int64_t layer = elements_of(model, "decoder.0."),
                       tokens = elements_of(model, "token_embedding") / 3;
    const std::int64_t positions = elements_of(model, "position_embedding") / 2,
                       norm = elements_of(model, "decoder.norm.");
    EXPECT_EQ(model.parameters().elements(), layer + 3 * tokens + 2 * positions + norm);
    EXPECT_EQ(12 * layer + 50257 * tokens + 1024 * positions + norm, 124'439'808);
}

TEST(Transformer, StartsAsGpt2DoesWithSmallerProjectionsIntoTheResidualStream) {
    ModelConfig config;
    config.layers = 3, config.heads = 4, config.width = 128, config.context = 200, config.vocabulary = 300;
    config.tie_embeddings = false;
    Stream stream(test_gpu(), 2);
    const Transformer model(stream, config, 5);
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
        const Parameter& parameter = model.parameters()[i];
        SCOPED_TRACE(parameter.name);
        const std::vector<float> values = values_of(stream, parameter);
        if (parameter.name.ends_with(".bias"))
            EXPECT_EQ(values, std::vector<float>(values.size(), 0.0f));
        else if (parameter.name.find("norm") != std::string::npos)
            EXPECT_EQ(values, std::vector<float>(values.size(), 1.0f));
        else if (parameter.name.ends_with("attention.output.weight") ||
                 parameter.name.ends_with("feed_forward.out.weight"))
            expect_normal(values, 0.02 / std::sqrt(2.0 * 3));
        else
            expect_normal(values, 0.02);
    }
}

TEST(Transformer, NamesAreUniqueAndOnlyMatricesDecay) {
    ModelConfig config = small_config();
    config.tie_embeddings = false;
    Stream stream(test_gpu(), 1);
    const Transformer model(stream, config, 5);
    std::set<std::string> names;
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
        const Parameter& parameter = model.parameters()[i];
        EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
        EXPECT_EQ(parameter.number, i);
        const bool vector =
            parameter.name.ends_with(".bias") || parameter.name.find("norm") != std::string::npos;
        EXPECT_EQ(parameter.decays(), !vector) << parameter.name;
    }
    for (const char* decays : {"token_embedding.weight", "position_embedding.weight", "head.weight"})
        EXPECT_TRUE(names.contains(decays)) << decays;
}

TEST(Transformer, OnlyPreNormStacksHaveAFinalNorm) {
    Stream stream(test_gpu(), 1);
    ModelConfig config = small_config();
    EXPECT_EQ(elements_of(Transformer(stream, config, 1), "decoder.norm."), 2 * 12);
    config.norm = NormPlace::kPost;
    EXPECT_EQ(elements_of(Transformer(stream, config, 1), "decoder.norm."), 0);
}

TEST(Transformer, OptionsDecideWhichParametersThereAre) {
    Stream stream(test_gpu(), 1);
    ModelConfig config = small_config();
    EXPECT_EQ(elements_of(Transformer(stream, config, 1), "head"), 0);
    config.tie_embeddings = false;
    EXPECT_EQ(elements_of(Transformer(stream, config, 1), "head"), 17 * 12);
    config.position = PositionKind::kSinusoidal;
    EXPECT_EQ(elements_of(Transformer(stream, config, 1), "position_embedding"), 0);
    config.bias = false;
    const Transformer model(stream, config, 1);
    for (std::size_t i = 0; i < model.parameters().size(); ++i)
        EXPECT_FALSE(model.parameters()[i].name.ends_with(".bias")) << model.parameters()[i].name;
}

TEST(ModelConfig, IsRefusedWhereItsSizesDoNotFit) {
    const auto refused = [](const auto& change, const std::string& option) {
        expect_config_refused(small_config(), change, option);
    };
    refused([](ModelConfig& c) { c.layers = 0; }, "model.layers");
    refused([](ModelConfig& c) { c.heads = 0; }, "model.heads");
    refused([](ModelConfig& c) { c.heads = 5; }, "model.width");
    refused([](ModelConfig& c) { c.width = -12; }, "model.width");
    refused([](ModelConfig& c) { c.key_value_heads = -1; }, "model.kv-heads");
    refused([](ModelConfig& c) { c.heads = 4, c.key_value_heads = 3; }, "model.kv-heads");
    refused([](ModelConfig& c) { c.feed_forward = -4; }, "model.ff");
    refused([](ModelConfig& c) { c.context = 0; }, "model.context");
    refused([](ModelConfig& c) { c.vocabulary = 0; }, "model.vocabulary");
    refused([](ModelConfig& c) { c.dropout = 1.0; }, "model.dropout");
    refused([](ModelConfig& c) { c.dropout = -0.1; }, "model.dropout");
    refused([](ModelConfig& c) { c.dropout = std::nan(""); }, "model.dropout");
    refused([](ModelConfig& c) { c.dropout_attention = 1.5; }, "model.dropout-attention");
}

}  // namespace
}  // namespace skein::test
