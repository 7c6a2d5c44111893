#include "trainer/objective.h"

#include <span>
#include <variant>
#include <vector>

#include "model/base/error.h"
#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"

namespace skein {
namespace {

using Ids = std::vector<std::int32_t>;

// What a model takes, of the samples [begin, end) of a part, counted in it.

TokenPass pass_of(Stream& stream, const TokenBatch& part, SampleRange samples) {
    const auto context = static_cast<std::int64_t>(part.context);
    const std::int64_t count = samples.end - samples.begin;
    const auto rows = [&](const Ids& ids) {
        return Tensor::from<std::int32_t>(
            stream, {count, context},
            std::span(ids).subspan(static_cast<std::size_t>(samples.begin * context),
                                   static_cast<std::size_t>(count * context)));
    };
    return {rows(part.inputs), rows(part.targets)};
}

PairPass pass_of(Stream& stream, const PairBatch& part, SampleRange samples) {
    const PaddedPairs padded =
        pad_pairs(part, static_cast<std::uint64_t>(samples.begin), static_cast<std::uint64_t>(samples.end));
    const auto count = static_cast<std::int64_t>(padded.samples);
    const auto ids = [&](const Ids& values, std::uint64_t length) {
        return Tensor::from<std::int32_t>(stream, {count, static_cast<std::int64_t>(length)},
                                          std::span(values));
    };
    const auto lengths = [&](const Ids& values) {
        return Tensor::from<std::int32_t>(stream, {count}, std::span(values));
    };
    return {ids(padded.source, padded.source_length), ids(padded.inputs, padded.target_length),
            ids(padded.targets, padded.target_length), lengths(padded.source_lengths),
            lengths(padded.target_lengths)};
}

/// A model M that is trained on batches whose samples are a Part.
template <class M, class Part>
class ModelObjective : public Objective {
  public:
    ModelObjective(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                   const TensorSharing& sharing)
        : Objective(std::make_unique<M>(stream, config, seed, sharing)), stream_(stream) {}

    LossSums loss(Tape& tape, const Batch& batch, SampleRange samples, const PassContext& place,
                  const LossOptions& options) const override {
        const SampleRange in_part{samples.begin - batch.own.begin, samples.end - batch.own.begin};
        return static_cast<const M&>(model()).loss(
            tape, pass_of(stream_, std::get<Part>(batch.part), in_part), place, options);
    }

  private:
    Stream& stream_;
};

}  // namespace

std::unique_ptr<Objective> make_objective(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                                          const TensorSharing& sharing) {
    switch (config.kind) {
        case ModelKind::kDecoder:
            return std::make_unique<ModelObjective<Transformer, TokenBatch>>(stream, config, seed, sharing);
        case ModelKind::kEncoderDecoder:
            return std::make_unique<ModelObjective<EncoderDecoder, PairBatch>>(stream, config, seed, sharing);
        case ModelKind::kEncoder:
            break;
    }
    throw ConfigError("--model.kind: found encoder, wanted decoder or encoder-decoder");
}

}  // namespace skein
