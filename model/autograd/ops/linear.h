#pragma once

#include "model/autograd/tape.h"

namespace skein {

/// y = x · wᵀ + b.  x: [rows, in], weight: [out, in], bias: [out] or none, y: [rows, out]. Throws ShapeError.
Var linear(const Var& x, const Var& weight, const Var& bias = {});

}  // namespace skein
