#pragma once

#include "model/autograd/tape.h"
#include "model/kernels/elementwise.h"

namespace skein {

/// y = dropout(scale · table[ids] + positions).  ids: i32 [samples, length], each in [0, vocabulary); table:
/// [vocabulary, width]; positions: [context, width] or none, of which rows first_position ... first_position
/// + length - 1 are added; y: [samples · length, width]. Throws ShapeError when the context is too short.
Var embedding(const Var& table, const Var& positions, const Tensor& ids, float scale,
              const kernels::Dropout& dropout, const kernels::RowPlace& place);

}  // namespace skein
