#pragma once

#include <functional>
#include <vector>

#include "model/autograd/tape.h"

namespace skein {

/// Ops on a tape: their inputs, at most three, to their outputs. Called a second time in backward, when it
/// must do the same again, so it holds what it needs.
using TapeFunction = std::function<std::vector<Var>(Tape&, const std::vector<Var>&)>;

/// function(inputs), of which nothing is kept for backward but the inputs: backward runs it again and then
/// walks back through it (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016). The same bits,
/// unless an input is used outside as well and more than once inside: its gradients from inside are then
/// added up on their own. At least one input needs a gradient. Throws ShapeError.
std::vector<Var> recompute(Tape& tape, const std::vector<Var>& inputs, TapeFunction function);

}  // namespace skein
