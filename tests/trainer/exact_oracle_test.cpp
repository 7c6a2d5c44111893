// The same model on every grid of ranks, in arithmetic that is exact: every gradient must be equal bit for
// bit, with no exceptions. What breaks under tensor parallelism, padding, uneven shards or unequal token
// counts shows here, where a tolerance would hide it.

#include <cmath>
#include <cstring>
#include <memory>
#include <set>

#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_session.h"
#include "tests/model/nn/shared_model.h"
#include "tests/trainer/exact_arithmetic.h"
#include "trainer/run_rules.h"
#include "trainer/training_step.h"

namespace skein {
namespace {

using test::for_runs;

// Of 12 samples in four lanes the lengths differ, so that lanes and ranks have unequal numbers of tokens.
constexpr std::int64_t kSamples = 12, kLongest = 7;
std::int64_t length_of(std::int64_t sample) {
    return 1 + (sample * 5 + 3) % kLongest;
}
std::int64_t source_length_of(std::int64_t sample) {
    return 1 + (sample * 3 + 1) % (kLongest + 1);
}

std::int32_t id_of(std::int64_t sample, std::int64_t position, int side, std::int64_t vocabulary) {
    return static_cast<std::int32_t>((sample * 31 + position * 17 + side * 7 + 5) % vocabulary);
}

/// A model M whose ops round what is not exact, and the samples that it is trained on.
template <class M>
class ExactObjective final : public Objective {
  public:
    ExactObjective(Stream& stream, const ModelConfig& config, const TensorSharing& sharing)
        : Objective(std::make_unique<M>(stream, config, 1, sharing)), stream_(stream) {
        ParameterList& parameters = model().parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const Parameter& parameter = parameters[i];
            std::vector<float> whole(static_cast<std::size_t>(parameter.global_shape.elements()));
            const bool gamma = parameter.name.find("norm.weight") != std::string::npos;
            for (std::size_t k = 0; k < whole.size(); ++k) {
                const PhiloxBlock random =
                    philox({static_cast<std::uint32_t>(k), parameter.number, 0, 0}, PhiloxKey{11, 12});
                // most of a matrix is 0, so that sums stay short; the scales of norms are 1 or 2
                constexpr float kValues[16] = {-1.0f, 1.0f, 1.0f};
                whole[k] = gamma ? static_cast<float>(1 + random[0] % 2) : kValues[random[0] % 16];
            }
            test::assign(stream, parameter.leaf.value, test::part_of(parameter, whole));
        }
    }

    LossSums loss(Tape& tape, const Batch&, SampleRange samples, const PassContext& place,
                  const LossOptions& options) const override {
        tape.on_inexact = round_inexact;
        return static_cast<const M&>(model()).loss(tape, pass_of(samples, static_cast<const M*>(nullptr)),
                                                   place, options);
    }

  private:
    // [samples, longest] of what value(sample, position) gives below the sample's length
    template <class Length, class Value>
    Tensor padded(SampleRange samples, std::int64_t longest, std::int32_t padding, const Length& length,
                  const Value& value) const {
        std::vector<std::int32_t> ids;
        for (std::int64_t sample = samples.begin; sample < samples.end; ++sample)
            for (std::int64_t t = 0; t < longest; ++t)
                ids.push_back(t < length(sample) ? value(sample, t) : padding);
        return Tensor::from<std::int32_t>(stream_, {samples.end - samples.begin, longest}, ids);
    }
    template <class Length>
    std::pair<Tensor, std::int64_t> lengths(SampleRange samples, const Length& length) const {
        std::vector<std::int32_t> all;
        for (std::int64_t sample = samples.begin; sample < samples.end; ++sample)
            all.push_back(static_cast<std::int32_t>(length(sample)));
        return {Tensor::from<std::int32_t>(stream_, {std::ssize(all)}, all), *std::ranges::max_element(all)};
    }
    TokenPass pass_of(SampleRange samples, const Transformer*) const {
        const std::int64_t vocabulary = model().config().vocabulary;
        return {padded(samples, kLongest, 0, length_of,
                       [&](auto s, auto t) { return id_of(s, t, 0, vocabulary); }),
                padded(samples, kLongest, -1, length_of,
                       [&](auto s, auto t) { return id_of(s, t + 1, 0, vocabulary); })};
    }
    PairPass pass_of(SampleRange samples, const EncoderDecoder*) const {
        const std::int64_t vocabulary = model().config().vocabulary,
                           source_ids = model().config().source_ids();
        PairPass pass;
        const auto [source_lengths, source_longest] = lengths(samples, source_length_of);
        const auto [target_lengths, target_longest] = lengths(samples, length_of);
        pass.source_lengths = source_lengths;
        pass.target_lengths = target_lengths;
        pass.source = padded(samples, source_longest, 0, source_length_of,
                             [&](auto s, auto t) { return id_of(s, t, 1, source_ids); });
        pass.inputs = padded(samples, target_longest, 0, length_of,
                             [&](auto s, auto t) { return id_of(s, t, 0, vocabulary); });
        pass.targets = padded(samples, target_longest, -1, length_of,
                              [&](auto s, auto t) { return id_of(s, t + 1, 0, vocabulary); });
        return pass;
    }

    Stream& stream_;
};

Batch batch_of(SampleRange own) {
    Batch batch;
    batch.samples = kSamples;
    batch.own = own;
    for (std::int64_t sample = 0; sample < kSamples; ++sample) batch.target_tokens += length_of(sample);
    // next_pass looks at the lengths of its samples only where passes go by tokens
    TokenBatch part;
    part.context = kLongest;
    batch.part = std::move(part);
    return batch;
}

struct Grid {
    int data = 1, tensor = 1;
};
struct Way {
    bool sequence = false;
    Recompute recompute = Recompute::kNone;
    int zero = 0;
};

/// What a step leaves on this rank: gradients before the update, and parameters after it.
struct After {
    std::vector<std::string> names;
    std::vector<Layout> layouts;
    std::vector<Shape> shapes;
    std::vector<std::vector<float>> gradients, parameters;
    double norm = 0.0;
};

template <class M>
After run(RunConfig config, const Way& way, Communicator& world, Communicator& data, Communicator* tensor) {
    config.train.recompute = way.recompute;
    config.parallel.sequence = way.sequence;
    config.parallel.zero = way.zero;
    std::optional<TensorGroup> group;
    TensorSharing sharing;
    if (tensor) sharing = {&group.emplace(*tensor), way.sequence};
    Stream stream(1);
    ExactObjective<M> objective(stream, config.model, sharing);
    TrainingStep step(config, objective, stream, StepGroups(data, nullptr, world));
    After after;
    after.norm = step.run(batch_of(step.own_samples(kSamples)), 3, 0).gradient_norm;
    const ParameterList& parameters = objective.model().parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        after.names.push_back(parameters[i].name);
        after.layouts.push_back(parameters[i].layout);
        after.shapes.push_back(parameters[i].global_shape);
        after.gradients.push_back(test::floats_of(stream, parameters[i].leaf.gradient));
        after.parameters.push_back(test::floats_of(stream, parameters[i].leaf.value));
    }
    return after;
}

bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
    return one.size() == other.size() &&
           std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
}

std::vector<float> part_of(const Layout& layout, const Shape& global, const std::vector<float>& whole) {
    std::vector<float> part(static_cast<std::size_t>(layout.local(global).elements()));
    for_runs(layout, global, [&](auto in_part, auto in_whole, auto count) {
        std::copy_n(whole.begin() + in_whole, count, part.begin() + in_part);
    });
    return part;
}

// -0 and +0 are one number, and which of them a sum without a term is says nothing.
void without_negative_zeros(After& after) {
    for (std::vector<float>& values : after.gradients)
        for (float& value : values) value += 0.0f;
}

class ExactOracle : public ::testing::Test {
  protected:
    template <class M>
    void expect_equal_everywhere(const RunConfig& config) {
        SoloCommunicator alone;
        take_inexact_calls();
        take_exact_calls();
        take_clamped_share();
        After whole = run<M>(config, {}, alone, alone, nullptr);
        EXPECT_EQ(take_inexact_calls(), std::vector<std::string>());
        EXPECT_GT(take_exact_calls(), 100);
        EXPECT_LT(take_clamped_share(), 0.2);
        without_negative_zeros(whole);
        expect_something(whole, config);
        for (const Grid grid : {Grid{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1}, {1, 4}}) {
            const int ranks = grid.data * grid.tensor;
            if (ranks > session_.size()) continue;
            const bool takes_part = session_.rank() < ranks;
            const auto world = all_.split(takes_part ? 0 : 1, session_.rank());
            if (!takes_part) continue;
            const auto data = world->split(world->rank() % grid.tensor, world->rank());
            const auto tensor = world->split(world->rank() / grid.tensor, world->rank());
            for (const bool sequence : {false, true})
                for (const Recompute recompute : {Recompute::kNone, Recompute::kAttention, Recompute::kBlock})
                    for (const int zero : {0, 1}) {
                        if ((sequence && grid.tensor == 1) || (zero == 1 && grid.data == 1)) continue;
                        SCOPED_TRACE(::testing::Message()
                                     << "data " << grid.data << ", tensor " << grid.tensor << ", sequence "
                                     << sequence << ", recompute " << static_cast<int>(recompute) << ", zero "
                                     << zero);
                        After found = run<M>(config, {sequence, recompute, zero}, *world, *data,
                                             grid.tensor > 1 ? tensor.get() : nullptr);
                        EXPECT_EQ(take_inexact_calls(), std::vector<std::string>());
                        without_negative_zeros(found);
                        // the places of a sharded rank's gradients hold what it got of the others' parameters
                        if (zero == 1) found.gradients.clear();
                        expect_equal(found, whole);
                    }
        }
    }

    static void expect_equal(const After& found, const After& whole) {
        // the squares of 24 bits, added in another order, may need more than the 53 of fp64
        EXPECT_NEAR(found.norm, whole.norm, 1e-14 * whole.norm);
        ASSERT_EQ(found.names, whole.names);
        for (std::size_t i = 0; i < whole.names.size(); ++i) {
            const auto part = [&](const std::vector<float>& values) {
                return part_of(found.layouts[i], found.shapes[i], values);
            };
            if (!found.gradients.empty()) {
                EXPECT_TRUE(same_bits(found.gradients[i], part(whole.gradients[i])))
                    << "the gradient of " << whole.names[i];
            }
            EXPECT_TRUE(same_bits(found.parameters[i], part(whole.parameters[i]))) << whole.names[i];
        }
    }

    // That there is something to compare: every gradient is many values, and clipping was at work.
    static void expect_something(const After& whole, const RunConfig& config) {
        EXPECT_GT(whole.norm, 2.0 * config.train.clip);
        for (std::size_t i = 0; i < whole.names.size(); ++i) {
            const std::set<float> values(whole.gradients[i].begin(), whole.gradients[i].end());
            EXPECT_GE(std::ssize(values), std::min<std::int64_t>(8, std::ssize(whole.gradients[i]) / 2))
                << whole.names[i];
        }
    }

    static RunConfig config() {
        RunConfig config;
        config.model.layers = 2;
        config.model.heads = 4;
        config.model.width = 16;
        config.model.feed_forward = 44;
        config.model.context = 8;
        config.model.vocabulary = 101;  // over 4 ranks: 24, 24, 24, 29
        config.model.dropout = 0.5;
        config.model.activation = ActivationKind::kRelu;
        config.train.batch = kSamples;
        config.train.label_smoothing = 0.1;
        config.train.clip = 0.01;
        config.parallel.lanes = 4;
        return effective(config);
    }

    MpiSession session_;
    MpiCommunicator all_{session_};
};

TEST_F(ExactOracle, HoldsForTheDecoder) {
    expect_equal_everywhere<Transformer>(config());
}

TEST_F(ExactOracle, HoldsForTheDecoderPostNormWithGeluInSmallPasses) {
    RunConfig other = config();
    other.model.norm = NormPlace::kPost;
    other.model.activation = ActivationKind::kGelu;
    other.model.tie_embeddings = false;
    other.train.micro_batch = 2;
    expect_equal_everywhere<Transformer>(other);
}

TEST_F(ExactOracle, HoldsForTheDecoderWithFewerKeyValueHeads) {
    RunConfig other = config();
    other.model.heads = 8;
    other.model.key_value_heads = 4;
    expect_equal_everywhere<Transformer>(other);
}

TEST_F(ExactOracle, HoldsForTheEncoderDecoder) {
    RunConfig pairs = config();
    pairs.model.kind = ModelKind::kEncoderDecoder;
    pairs.model.norm = NormPlace::kPost;
    expect_equal_everywhere<EncoderDecoder>(effective(pairs));
}

TEST_F(ExactOracle, HoldsForTheEncoderDecoderPreNormWithTablesOfItsOwn) {
    RunConfig pairs = config();
    pairs.model.kind = ModelKind::kEncoderDecoder;
    pairs.model.share_embeddings = pairs.model.tie_embeddings = false;
    pairs.model.source_vocabulary = 75;
    pairs.train.micro_batch = 2;
    expect_equal_everywhere<EncoderDecoder>(effective(pairs));
}

}  // namespace
}  // namespace skein
