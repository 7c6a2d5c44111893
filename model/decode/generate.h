#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/decode/sampling.h"
#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"

namespace skein {

struct GenerateOptions {
    std::int64_t tokens = 200;  ///< how many to add, at most
    SamplingOptions sampling;
    std::uint64_t seed = 1;
    std::optional<std::int32_t> stop;  ///< generation ends with this token
};

/// Continues `prompt` (at least one token) token by token, with cached keys and values; each is handed to
/// `token` as it is chosen. When the context is full, the second half of it is read again as a new beginning.
/// The number behind token i is a function of seed and i. Throws DataError for an id outside the vocabulary
/// or an empty prompt.
std::vector<std::int32_t> generate(const Transformer& model, Stream& stream,
                                   std::span<const std::int32_t> prompt, const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& token = {});

/// The same of a target, token by token behind `begin`, given its source (which ends in its end token). A
/// target has no more tokens than the context. Throws DataError for an id outside the vocabularies and for a
/// source that is empty or longer than the context.
std::vector<std::int32_t> generate(const EncoderDecoder& model, Stream& stream,
                                   std::span<const std::int32_t> source, std::int32_t begin,
                                   const GenerateOptions& options,
                                   const std::function<void(std::int32_t)>& token = {});

}  // namespace skein
