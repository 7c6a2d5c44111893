#include "trainer/objective.h"

#include <span>

#include "model/base/error.h"

namespace skein {
namespace {

Tensor ids_tensor(Stream& stream, std::span<const std::int32_t> ids, std::int64_t samples,
                  std::int64_t length) {
    return Tensor::from<std::int32_t>(stream, {samples, length}, ids);
}

}  // namespace

LossSums NextTokenObjective::loss(Tape& tape, const Batch& batch, SampleRange samples,
                                  const PassContext& place, const LossOptions& options) const {
    const auto& part = std::get<TokenBatch>(batch.part);
    const auto context = static_cast<std::int64_t>(part.context);
    const std::int64_t count = samples.end - samples.begin;
    const auto rows = [&](const std::vector<std::int32_t>& ids) {
        const auto first = static_cast<std::size_t>((samples.begin - batch.own.begin) * context);
        return ids_tensor(stream_, std::span(ids).subspan(first, static_cast<std::size_t>(count * context)),
                          count, context);
    };
    return model_.loss(tape, {rows(part.inputs), rows(part.targets)}, place, options);
}

LossSums TranslationObjective::loss(Tape& tape, const Batch& batch, SampleRange samples,
                                    const PassContext& place, const LossOptions& options) const {
    const auto in_part = [&](std::int64_t sample) {
        return static_cast<std::uint64_t>(sample - batch.own.begin);
    };
    const PaddedPairs padded =
        pad_pairs(std::get<PairBatch>(batch.part), in_part(samples.begin), in_part(samples.end));
    const auto count = static_cast<std::int64_t>(padded.samples);
    const auto source_length = static_cast<std::int64_t>(padded.source_length);
    const auto target_length = static_cast<std::int64_t>(padded.target_length);
    const auto lengths = [&](const std::vector<std::int32_t>& values) {
        return Tensor::from<std::int32_t>(stream_, {count}, std::span<const std::int32_t>(values));
    };
    const PairPass pass{ids_tensor(stream_, padded.source, count, source_length),
                        ids_tensor(stream_, padded.inputs, count, target_length),
                        ids_tensor(stream_, padded.targets, count, target_length),
                        lengths(padded.source_lengths), lengths(padded.target_lengths)};
    return model_.loss(tape, pass, place, options);
}

std::unique_ptr<Objective> make_objective(Stream& stream, const ModelConfig& config, std::uint64_t seed) {
    switch (config.kind) {
        case ModelKind::kDecoder:
            return std::make_unique<NextTokenObjective>(stream, config, seed);
        case ModelKind::kEncoderDecoder:
            return std::make_unique<TranslationObjective>(stream, config, seed);
        case ModelKind::kEncoder:
            break;
    }
    throw ConfigError("--model.kind: found encoder, wanted decoder or encoder-decoder");
}

}  // namespace skein
