#pragma once

#include "model/autograd/ops/linear.h"
#include "model/autograd/tape.h"
#include "model/kernels/dropout.h"
#include "model/kernels/elementwise.h"

namespace skein {

enum class Activation { kRelu, kGelu };

struct FeedForwardWeights {
    Var w1, b1;  ///< [hidden, width], [hidden] or none
    Var w2, b2;  ///< [width, hidden], [width] or none
};

/// y = dropout(activation(x · w1ᵀ + b1)) · w2ᵀ + b2 (Vaswani et al., 2017, equation 2; GELU as in GPT). x, y:
/// [rows, width]; place: of a [rows, hidden] buffer. One op, so that the activation and its derivative run
/// while a tile of the product is in cache.
Var feed_forward(const Var& x, const FeedForwardWeights& weights, Activation activation,
                 const kernels::Dropout& dropout, const kernels::RowPlace& place,
                 BiasUse use_b2 = BiasUse::kAdd);

}  // namespace skein
