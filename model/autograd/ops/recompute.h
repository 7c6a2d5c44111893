#pragma once

#include <functional>
#include <vector>

#include "model/autograd/tape.h"

namespace skein {

/// Ops on a tape: their inputs, at most three, to their outputs. Called a second time in backward, when it
/// must do the same again, so it holds what it needs.
using TapeFunction = std::function<std::vector<Var>(Tape&, const std::vector<Var>&)>;

/// function(inputs), of which nothing is kept for backward but the inputs: backward runs it again and then
/// walks back through it (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016). The same bits;
/// where an input is used outside as well, only if it goes as_one_use(): its gradients from inside are added
/// up, and in 16 bits rounded, on their own. At least one input needs a gradient. Throws ShapeError.
std::vector<Var> recompute(Tape& tape, const std::vector<Var>& inputs, TapeFunction function);

/// x, of which one gradient is passed on, however many of its uses there are behind this: with the same
/// additions, and rounded at the same places, as where they are computed again.
Var as_one_use(const Var& x);

}  // namespace skein
