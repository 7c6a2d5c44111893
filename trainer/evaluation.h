#pragma once

#include <cstdint>

#include "data/token_shard.h"
#include "model/nn/transformer.h"
#include "model/tensor/communicator.h"

namespace skein {

struct Evaluation {
    double loss = 0.0;      ///< plain cross-entropy, nats per real target token
    double accuracy = 0.0;  ///< share of target tokens that are the most probable
    std::int64_t tokens = 0;
    double perplexity() const;
};

/// Loss on the validation stream: its non-overlapping windows of the model's context from token 0 on, the first `windows`
/// of them (0: all). Collective; ranks share the windows out, and the sums are added in order of windows, so the result is
/// the same bits for any number of ranks. Throws DataError, on all ranks, when there is no window or one cannot be read.
Evaluation evaluate(const Transformer& model, Stream& stream, Communicator& data, const TokenStream& tokens,
                    std::int64_t windows);

}  // namespace skein
