#include "model/decode/generate.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

Tensor feed(const Transformer& model, Stream& stream, std::span<const std::int32_t> ids, DecodeState& state) {
    return model.decode(stream, Tensor::from<std::int32_t>(stream, {1, static_cast<std::int64_t>(ids.size())}, ids),
                        state);
}

}  // namespace

std::vector<std::int32_t> generate(const Transformer& model, Stream& stream, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options, const std::function<void(std::int32_t)>& token) {
    if (prompt.empty()) throw DataError("generate: the prompt has no token, wanted at least one");
    for (const std::int32_t id : prompt)
        if (id < 0 || id >= model.config().vocabulary)
            throw DataError(text("generate: token ", id, " is outside the vocabulary of ", model.config().vocabulary));
    const auto context = static_cast<std::size_t>(model.config().context);
    std::vector<std::int32_t> ids(prompt.begin(), prompt.end());
    const auto restart = [&](std::size_t keep) {
        DecodeState fresh = model.start_decoding(stream, 1, model.config().context);
        const std::size_t count = std::min(keep, ids.size());
        Tensor logits = feed(model, stream, std::span(ids).last(count), fresh);
        return std::pair(std::move(fresh), std::move(logits));
    };
    auto [state, logits] = restart(context);
    const PhiloxKey key = philox_key(options.seed, RandomPurpose::kGeneration, 0, 0);
    std::vector<std::int32_t> added;
    for (std::int64_t i = 0; i < options.tokens; ++i) {
        const std::int32_t next =
            sample_token(logits.span<float>(), options.sampling, uniform(philox_at(static_cast<std::uint64_t>(i), key)[0]));
        ids.push_back(next);
        added.push_back(next);
        if (token) token(next);
        if (options.stop && next == *options.stop) break;
        if (i + 1 == options.tokens) break;
        if (static_cast<std::size_t>(state.length) < context)
            logits = feed(model, stream, std::span(ids).last(1), state);
        else
            std::tie(state, logits) = restart(std::max<std::size_t>(1, context / 2));
    }
    return added;
}

}  // namespace skein
