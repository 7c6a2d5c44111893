#pragma once

#include "model/autograd/tape.h"

namespace skein {

/// Whether a bias is added to the result. A part of a sum over ranks leaves it to one of them: its gradient,
/// which all have whole, is the same.
enum class BiasUse { kAdd, kGradientOnly };

/// y = x · wᵀ + b.  x: [rows, in], weight: [out, in] (where it has more axes, out is all but the last), bias:
/// out elements or none, y: [rows, out]. Throws ShapeError.
Var linear(const Var& x, const Var& weight, const Var& bias = {}, BiasUse use = BiasUse::kAdd);

}  // namespace skein
