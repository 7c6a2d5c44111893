#pragma once

#include "model/autograd/tape.h"
#include "model/kernels/elementwise.h"

namespace skein {

/// The ids that an embedding's table has rows for, of ids below `end`.
struct TableIds {
    std::int64_t first = 0, end = 0;
};

/// y = dropout(scale · table[ids - first] + positions), and 0 for ids that the table has no row for.  ids:
/// i32 [samples, length]; table: [ids of it, width]; positions: [context, width] or none, of which rows
/// first_position ... first_position
/// + length - 1 are added; y: [samples · length, width]. Throws ShapeError when the context is too short.
Var embedding(const Var& table, const Var& positions, const Tensor& ids, float scale,
              const kernels::Dropout& dropout, const kernels::RowPlace& place, const TableIds& of_table = {});

}  // namespace skein
