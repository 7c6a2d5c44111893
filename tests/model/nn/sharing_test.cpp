#include "model/nn/sharing.h"

#include <mutex>

#include "tests/model/nn/shared_model.h"
#include "tests/support/thread_ranks.h"

namespace skein {
namespace {

using namespace test;

// Four heads; a vocabulary and a feed-forward width that no number of ranks divides.
ModelConfig shared_config() {
    ModelConfig config;
    config.layers = 2;
    config.heads = 4;
    config.width = 16;
    config.feed_forward = 41;
    config.context = 9;
    config.vocabulary = 37;
    return config;
}

struct Outcome {
    SmallModel::Sums sums;
    NamedGradients gradients;
};

struct Sharing {
    int ranks = 1;
    bool sequence = false;
    Recompute recompute = Recompute::kNone;
    friend std::ostream& operator<<(std::ostream& out, const Sharing& s) {
        return out << s.ranks << " ranks, sequence " << s.sequence << ", recompute "
                   << static_cast<int>(s.recompute);
    }
};

/// One pass, forward and backward, of a model that `sharing.ranks` ranks share.
template <class M, class Batch>
Outcome run(const ModelConfig& config, const Batch& batch, const Sharing& sharing, LossOptions options,
            DType dtype = DType::f32) {
    PassContext pass;
    pass.seed = 7;
    pass.step = 3;
    pass.first_sample = 5;
    pass.training = true;
    pass.recompute = sharing.recompute;
    Outcome outcome;
    std::mutex mutex;
    on_ranks(sharing.ranks, [&](Communicator& ranks) {
        SharedModel<M> shared(config, sharing.ranks > 1 ? &ranks : nullptr, sharing.sequence, dtype);
        SmallModel::Sums sums;
        {
            Tape tape(shared.stream);
            const LossSums loss = shared.model.loss(tape, batch.on(shared.stream), pass, options);
            tape.backward(loss.root);
            sums = SmallModel::sums_of(shared.stream, loss);
        }
        shared.complete_gradients();
        for (std::size_t i = 0; i < shared.model.parameters().size(); ++i)
            EXPECT_EQ(shared.model.parameters()[i].leaf.pending_uses, 0);
        const std::lock_guard lock(mutex);
        if (!outcome.gradients.empty()) {
            EXPECT_EQ(sums, outcome.sums);
        }
        outcome.sums = sums;
        put_together(shared.stream, shared.model.parameters(), outcome.gradients);
    });
    return outcome;
}

/// fp32 sums in another order: rounding through a few layers, by the size of the tensor.
void expect_close(const Outcome& found, const Outcome& wanted, double tolerance) {
    for (std::size_t i = 0; i < wanted.sums.loss.size(); ++i) {
        EXPECT_NEAR(found.sums.loss[i], wanted.sums.loss[i], tolerance * wanted.sums.loss[i]);
        EXPECT_NEAR(found.sums.nll[i], wanted.sums.nll[i], tolerance * wanted.sums.nll[i]);
    }
    EXPECT_EQ(found.sums.correct, wanted.sums.correct);
    ASSERT_EQ(found.gradients.size(), wanted.gradients.size());
    for (std::size_t i = 0; i < wanted.gradients.size(); ++i) {
        const auto& [name, values] = wanted.gradients[i];
        EXPECT_EQ(found.gradients[i].first, name);
        ASSERT_EQ(found.gradients[i].second.size(), values.size()) << name;
        double largest = 0.0, apart = 0.0;
        for (std::size_t k = 0; k < values.size(); ++k) {
            largest = std::max(largest, std::abs(static_cast<double>(values[k])));
            apart = std::max(apart, std::abs(static_cast<double>(found.gradients[i].second[k]) -
                                             static_cast<double>(values[k])));
        }
        EXPECT_GT(largest, 0.0) << name;
        EXPECT_LE(apart, tolerance * largest) << name;
    }
}

constexpr double kTolerance = 2e-5;

/// Whether the GPU is the shim, where one way of sharing will do.
bool slow() {
    if (!test_gpu()) return false;
    Stream stream(test_gpu(), 1);
    return is_shim(stream);
}

template <class M, class Batch>
void expect_the_same_on_every_sharing(const ModelConfig& config, const Batch& batch) {
    LossOptions options;
    options.label_smoothing = 0.1;
    options.gradient_scale = 0.5;
    const Outcome whole = run<M>(config, batch, {}, options);
    for (const int ranks : {2, 4})
        for (const bool sequence : {false, true}) {
            if (slow() && (ranks != 2 || !sequence)) continue;
            const Sharing sharing{ranks, sequence};
            SCOPED_TRACE(::testing::Message() << sharing);
            expect_close(run<M>(config, batch, sharing, options), whole, kTolerance);
        }
}

Tokens some_tokens(const ModelConfig& config) {
    Tokens tokens(3, 7, config.vocabulary);
    tokens.targets[2] = tokens.targets[9] = -1;
    return tokens;
}

TEST(SharedTransformer, HasTheLossesAndGradientsOfTheWhole) {
    const ModelConfig config = shared_config();
    expect_the_same_on_every_sharing<Transformer>(config, some_tokens(config));
}

TEST(SharedTransformer, HasThemWithDropoutEverywhere) {
    ModelConfig config = shared_config();
    config.dropout = 0.3;
    expect_the_same_on_every_sharing<Transformer>(config, some_tokens(config));
}

TEST(SharedTransformer, HasThemPostNormWithoutBiasAndWithAnOutputOfItsOwn) {
    ModelConfig config = shared_config();
    config.norm = NormPlace::kPost;
    config.bias = false;
    config.tie_embeddings = false;
    config.activation = ActivationKind::kRelu;
    config.dropout = 0.2;
    expect_the_same_on_every_sharing<Transformer>(config, some_tokens(config));
}

TEST(SharedTransformer, HasThemWithFewerKeyValueHeadsThanRanks) {
    for (const std::int64_t heads : {1, 2}) {
        ModelConfig config = shared_config();
        config.key_value_heads = heads;
        config.dropout = 0.2;
        expect_the_same_on_every_sharing<Transformer>(config, some_tokens(config));
    }
}

TEST(SharedTransformer, HasThemWithFewerRowsThanRanks) {
    const ModelConfig config = shared_config();
    expect_the_same_on_every_sharing<Transformer>(config, Tokens(1, 2, config.vocabulary));
}

TEST(SharedTransformer, StandsLogitsThatOverflowAnExponential) {
    ModelConfig config = shared_config();
    config.width = 64;  // rows of the table have a length of some 2.4, the norms are scaled up below
    Tokens tokens = some_tokens(config);
    LossOptions options;
    options.label_smoothing = 0.1;
    const auto run_with = [&](int ranks) {
        std::vector<double> loss;
        std::mutex mutex;
        on_ranks(ranks, [&](Communicator& communicator) {
            SharedModel<Transformer> shared(config, ranks > 1 ? &communicator : nullptr, false);
            ParameterList& parameters = shared.model.parameters();
            for (std::size_t i = 0; i < parameters.size(); ++i)
                if (parameters[i].name == "decoder.norm.weight")
                    assign(shared.stream, parameters[i].leaf.value, std::vector<float>(64, 400.0f));
            Tape tape(shared.stream, Tape::Mode::kInference);
            const auto sums = SmallModel::sums_of(
                shared.stream, shared.model.loss(tape, tokens.on(shared.stream), {}, options));
            const std::lock_guard lock(mutex);
            loss = sums.loss;
        });
        return loss;
    };
    const std::vector<double> wanted = run_with(1), found = run_with(4);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_GT(wanted[i], 1000.0);  // a logit of several hundred: its exponential is none
        EXPECT_NEAR(found[i], wanted[i], kTolerance * wanted[i]);
    }
}

ModelConfig shared_pair_config() {
    ModelConfig config = shared_config();
    config.kind = ModelKind::kEncoderDecoder;
    config.norm = NormPlace::kPost;
    config.position = PositionKind::kSinusoidal;
    config.activation = ActivationKind::kRelu;
    config.encoder_layers = 1;
    config.dropout = 0.2;
    return config;
}

Pairs some_pairs(const ModelConfig& config) {
    return {{{5, 3}, {2, 7}, {9, 1}}, config.vocabulary};
}

TEST(SharedEncoderDecoder, HasTheLossesAndGradientsOfTheWhole) {
    const ModelConfig config = shared_pair_config();
    expect_the_same_on_every_sharing<EncoderDecoder>(config, some_pairs(config));
}

TEST(SharedEncoderDecoder, HasThemWithTablesOfItsOwnAndFewKeyValueHeads) {
    ModelConfig config = shared_pair_config();
    config.norm = NormPlace::kPre;
    config.share_embeddings = config.tie_embeddings = false;
    config.source_vocabulary = 45;
    config.key_value_heads = 2;
    expect_the_same_on_every_sharing<EncoderDecoder>(config, some_pairs(config));
}

// 16 bits round each part of a sum before the sum: half a unit of the last place, through two layers.
TEST(SharedTransformer, HasThemInSixteenBits) {
    const ModelConfig config = shared_config();
    for (const DType dtype : {DType::bf16, DType::f16}) {
        const Outcome whole = run<Transformer>(config, some_tokens(config), {}, {}, dtype);
        for (const bool sequence : {false, true}) {
            Outcome shared = run<Transformer>(config, some_tokens(config), {2, sequence}, {}, dtype);
            shared.sums.correct = whole.sums.correct;
            expect_close(shared, whole, dtype == DType::bf16 ? 0.06 : 0.008);
        }
    }
}

template <class M, class Batch>
void expect_the_same_bits_recomputed(const ModelConfig& config, const Batch& batch,
                                     DType dtype = DType::f32) {
    LossOptions options;
    options.label_smoothing = 0.1;
    for (const Sharing& sharing : {Sharing{}, Sharing{2, false}, Sharing{2, true}}) {
        if (slow() && !sharing.sequence) continue;
        const Outcome kept = run<M>(config, batch, sharing, options, dtype);
        for (const Recompute recompute : {Recompute::kAttention, Recompute::kBlock}) {
            SCOPED_TRACE(::testing::Message() << sharing << ", recomputed " << static_cast<int>(recompute));
            const Outcome again =
                run<M>(config, batch, {sharing.ranks, sharing.sequence, recompute}, options, dtype);
            EXPECT_EQ(again.sums, kept.sums);
            EXPECT_EQ(again.gradients, kept.gradients);
        }
    }
}

TEST(Recomputation, GivesTheSameBits) {
    for (const NormPlace norm : {NormPlace::kPre, NormPlace::kPost}) {
        ModelConfig config = shared_config();
        config.norm = norm;
        config.dropout = 0.2;
        expect_the_same_bits_recomputed<Transformer>(config, some_tokens(config));
        config.key_value_heads = 2;
        expect_the_same_bits_recomputed<Transformer>(config, some_tokens(config));
        config = shared_pair_config();
        config.norm = norm;
        expect_the_same_bits_recomputed<EncoderDecoder>(config, some_pairs(config));
    }
}

// A product that is added to what stands there is rounded once, and sums of more than 384 products are added
// block by block.
TEST(Recomputation, GivesTheSameBitsInSixteenBitsAndWithLongSums) {
    for (const NormPlace norm : {NormPlace::kPre, NormPlace::kPost}) {
        ModelConfig config = shared_config(), pairs = shared_pair_config();
        config.norm = pairs.norm = norm;
        for (const DType dtype : {DType::bf16, DType::f16}) {
            if (slow() && (norm == NormPlace::kPre || dtype == DType::f16)) continue;
            expect_the_same_bits_recomputed<Transformer>(config, some_tokens(config), dtype);
            expect_the_same_bits_recomputed<EncoderDecoder>(pairs, some_pairs(pairs), dtype);
        }
        if (slow()) continue;
        config.width = pairs.width = 224;
        expect_the_same_bits_recomputed<Transformer>(config, some_tokens(config));
        expect_the_same_bits_recomputed<EncoderDecoder>(pairs, some_pairs(pairs));
    }
}

TEST(Recomputation, KeepsLess) {
    ModelConfig config = shared_config();
    config.layers = 6;
    const auto peak = [&](Recompute recompute) {
        SharedModel<Transformer> shared(config, nullptr, false);
        PassContext pass;
        pass.training = true;
        pass.recompute = recompute;
        const Tokens tokens(40, 9, config.vocabulary);
        const std::size_t before = shared.stream.pool().statistics().in_use;
        shared.stream.pool().reset_peak();
        Tape tape(shared.stream);
        tape.backward(shared.model.loss(tape, tokens.on(shared.stream), pass, {}).root);
        return shared.stream.pool().statistics().peak - before;
    };
    const std::size_t none = peak(Recompute::kNone);
    EXPECT_LT(peak(Recompute::kAttention), none * 9 / 10);
    EXPECT_LT(peak(Recompute::kBlock), none / 2);
}

TEST(SharedTransformer, DecodesAsTheWholeDoes) {
    for (const std::int64_t key_value_heads : {0, 2}) {
        ModelConfig config = shared_config();
        config.key_value_heads = key_value_heads;
        const Tokens tokens(2, 6, config.vocabulary);
        const auto logits = [&](int ranks) {
            std::vector<float> out;
            std::mutex mutex;
            on_ranks(ranks, [&](Communicator& communicator) {
                SharedModel<Transformer> shared(config, ranks > 1 ? &communicator : nullptr, true);
                DecodeState state = shared.model.start_decoding(shared.stream, 2, 9);
                std::vector<float> own;
                for (const auto& ids :
                     {Tokens(2, 4, config.vocabulary, 3), Tokens(2, 1, config.vocabulary, 4)}) {
                    const std::vector<float> step = floats_of(
                        shared.stream, shared.model.decode(shared.stream, ids.on(shared.stream).ids, state));
                    own.insert(own.end(), step.begin(), step.end());
                }
                const std::lock_guard lock(mutex);
                if (!out.empty()) {
                    EXPECT_EQ(own, out);
                }
                out = own;
            });
            return out;
        };
        const std::vector<float> wanted = logits(1);
        for (const int ranks : {2, 4}) {
            const std::vector<float> found = logits(ranks);
            ASSERT_EQ(found.size(), wanted.size());
            for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-4) << i;
        }
    }
}

TEST(SharedEncoderDecoder, DecodesAsTheWholeDoes) {
    ModelConfig config = shared_pair_config();
    config.key_value_heads = 2;
    const Pairs pairs = some_pairs(config);
    const auto logits = [&](int ranks) {
        std::vector<float> out;
        std::mutex mutex;
        on_ranks(ranks, [&](Communicator& communicator) {
            SharedModel<EncoderDecoder> shared(config, ranks > 1 ? &communicator : nullptr, true);
            const PairPass pass = pairs.on(shared.stream);
            PairDecodeState state =
                shared.model.start_decoding(shared.stream, pass.source, pass.source_lengths, 2, 5);
            std::vector<float> own;
            for (std::uint32_t step = 0; step < 3; ++step) {
                const Tensor ids = Tensor::from<std::int32_t>(
                    shared.stream, {6}, random_ids(6, static_cast<std::int32_t>(config.vocabulary), step));
                const auto values = floats_of(shared.stream, shared.model.decode(shared.stream, ids, state));
                own.insert(own.end(), values.begin(), values.end());
            }
            const std::lock_guard lock(mutex);
            out = own;
        });
        return out;
    };
    const std::vector<float> wanted = logits(1), found = logits(4);
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-4) << i;
}

TEST(CheckSharing, RefusesWhatRanksCannotShare) {
    const auto refusal = [](const ModelConfig& config, int ranks) -> std::string {
        try {
            check_sharing(config, ranks);
            return "";
        } catch (const ConfigError& error) {
            return error.what();
        }
    };
    ModelConfig config = shared_config();
    for (const int ranks : {1, 2, 4}) EXPECT_EQ(refusal(config, ranks), "");
    EXPECT_NE(refusal(config, 3).find("--parallel.tensor: found 3, but --model.heads is 4"),
              std::string::npos);
    config.heads = config.width = 12;
    config.key_value_heads = 4;
    config.feed_forward = config.vocabulary = 100;
    EXPECT_EQ(refusal(config, 4), "");
    EXPECT_EQ(refusal(config, 12), "");
    EXPECT_NE(refusal(config, 6).find("--model.kv-heads is 4"), std::string::npos);
    config.feed_forward = 31;
    EXPECT_NE(refusal(config, 4).find("--model.ff is 31, wanted at least 32"), std::string::npos);
    config.feed_forward = 32;
    config.vocabulary = 20;
    EXPECT_NE(refusal(config, 4).find("--model.vocabulary is 20"), std::string::npos);
}

}  // namespace
}  // namespace skein
