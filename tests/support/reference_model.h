#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/nn/model_config.h"
#include "model/nn/pass.h"

namespace skein::fp64 {

/// A model's parameters by name, row-major.
using Parameters = std::map<std::string, std::vector<double>>;

/// One pass, as Transformer::loss takes it.
struct Pass {
    std::int64_t samples = 1, length = 1;
    std::vector<std::int32_t> ids, targets;  ///< [samples · length]; negative targets are padding
    PassContext context;
    double label_smoothing = 0.0, gradient_scale = 1.0;
};

/// Pairs as they are, without padding, each with at least one token on either side.
struct PairSamples {
    std::vector<std::vector<std::int32_t>> sources, inputs, targets;
    PassContext context;
    double label_smoothing = 0.0, gradient_scale = 1.0;
};

struct ModelResult {
    std::vector<double> loss, nll;  ///< sums of each sample
    std::vector<std::int64_t> correct;
    std::vector<double> token_nll;  ///< [samples · length]
    double total = 0.0;             ///< gradient_scale · Σ loss: what the gradients are of
    Parameters gradients;           ///< empty unless wanted
};

/// The decoder-only Transformer on fp64 scalars, written down from the papers and from DESIGN §5 and sharing
/// no code with skein's ops; only the definition of a dropout mask is skein's.
ModelResult reference_loss(const ModelConfig& config, const Parameters& parameters, const Pass& pass,
                           bool want_gradients);

/// The encoder-decoder likewise, one pair after the other, so that it knows nothing of padding.
ModelResult reference_pair_loss(const ModelConfig& config, const Parameters& parameters,
                                const PairSamples& pass, bool want_gradients);

}  // namespace skein::fp64
