#include "model/decode/generate.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

Tensor feed(const Transformer& model, Stream& stream, std::span<const std::int32_t> ids, DecodeState& state) {
    return model.decode(
        stream, Tensor::from<std::int32_t>(stream, {1, static_cast<std::int64_t>(ids.size())}, ids), state);
}

void check_ids(std::span<const std::int32_t> ids, std::int64_t vocabulary) {
    for (const std::int32_t id : ids)
        if (id < 0 || id >= vocabulary)
            throw DataError(text("generate: token ", id, " is outside the vocabulary of ", vocabulary));
}

/// Adds tokens until one is options.stop, or there are options.tokens. `logits` are those of the first;
/// `feed` gives those behind a token.
std::vector<std::int32_t> sample(Stream& stream, Tensor logits, const GenerateOptions& options,
                                 const std::function<void(std::int32_t)>& token,
                                 const std::function<Tensor(std::int32_t)>& feed) {
    const PhiloxKey key = philox_key(options.seed, RandomPurpose::kGeneration, 0, 0);
    std::vector<std::int32_t> added;
    for (std::int64_t i = 0; i < options.tokens; ++i) {
        if (i > 0) logits = feed(added.back());
        const double number = uniform(philox_at(static_cast<std::uint64_t>(i), key)[0]);
        added.push_back(sample_token(on_host(stream, logits).span<float>(), options.sampling, number));
        if (token) token(added.back());
        if (added.back() == options.stop) break;
    }
    return added;
}

}  // namespace

std::vector<std::int32_t> generate(const Transformer& model, Stream& stream,
                                   std::span<const std::int32_t> prompt, const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& token) {
    if (prompt.empty()) throw DataError("generate: the prompt has no token, wanted at least one");
    check_ids(prompt, model.config().vocabulary);
    const auto context = static_cast<std::size_t>(model.config().context);
    std::vector<std::int32_t> ids(prompt.begin(), prompt.end());
    const auto restart = [&](std::size_t keep) {
        DecodeState fresh = model.start_decoding(stream, 1, model.config().context);
        const std::size_t count = std::min(keep, ids.size());
        Tensor logits = feed(model, stream, std::span(ids).last(count), fresh);
        return std::pair(std::move(fresh), std::move(logits));
    };
    auto [state, logits] = restart(context);
    return sample(stream, std::move(logits), options, token, [&, &at = state](std::int32_t id) {
        ids.push_back(id);
        if (static_cast<std::size_t>(at.length) < context)
            return feed(model, stream, std::span(ids).last(1), at);
        Tensor again;
        std::tie(at, again) = restart(std::max<std::size_t>(1, context / 2));
        return again;
    });
}

std::vector<std::int32_t> generate(const EncoderDecoder& model, Stream& stream,
                                   std::span<const std::int32_t> source, std::int32_t begin,
                                   const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& token) {
    const ModelConfig& config = model.config();
    const auto length = static_cast<std::int32_t>(source.size());
    if (length < 1 || length > config.context)
        throw DataError(text("generate: the source has ", length, " tokens, wanted 1 to ", config.context));
    check_ids(source, config.source_ids());
    check_ids({&begin, 1}, config.vocabulary);
    GenerateOptions bounded = options;
    bounded.tokens = std::min(options.tokens, config.context);
    PairDecodeState state =
        model.start_decoding(stream, Tensor::from<std::int32_t>(stream, {1, length}, source),
                             Tensor::from<std::int32_t>(stream, {1}, std::vector{length}), 1,
                             std::max<std::int64_t>(1, bounded.tokens));
    const auto feed_one = [&](std::int32_t id) {
        return model.decode(stream, Tensor::from<std::int32_t>(stream, {1}, std::vector{id}), state);
    };
    return sample(stream, feed_one(begin), bounded, token, feed_one);
}

}  // namespace skein
