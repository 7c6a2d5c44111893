#pragma once

#include "model/autograd/tape.h"
#include "model/kernels/dropout.h"
#include "model/kernels/elementwise.h"

namespace skein {

/// Layer norm over the last axis. x, y: [rows, width]; gamma: [width]; beta: [width] or none. Throws
/// ShapeError.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, float epsilon = 1e-5f);

struct ResidualNorm {
    Var sum;     ///< x + dropout(delta)
    Var normed;  ///< layer_norm(sum)
};

/// The residual add and the norm that follows it, in one pass over the data. x, delta: [rows, width].
ResidualNorm add_norm(const Var& x, const Var& delta, const kernels::Dropout& dropout,
                      const kernels::RowPlace& place, const Var& gamma, const Var& beta,
                      float epsilon = 1e-5f);

}  // namespace skein
