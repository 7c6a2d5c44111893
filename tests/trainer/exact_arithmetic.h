#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/autograd/tape.h"

namespace skein {

/// Rounds and clamps, in place and on the CPU, what an op gives that is not exact (Tape::on_inexact), so that
/// on integers all that is made of it in fp32 is exact again: sums have the same bits in any order.
///
///   results           multiples of 2^-1 in ±2
///   gradients         multiples of 2^-14 in ±2^-4
///   gradients of logits  multiples of 2^-19: an eighth of ε / V over some 60 tokens is 2^-19
///   rows' means       multiples of 2^-1
///   rows' scales      powers of two
void round_inexact(const Tensor& tensor, Tape::Inexact kind);

/// Share of the values that round_inexact has clamped since the last call.
double take_clamped_share();

/// The linker calls these in place of the kernels of the same names (see CMakeLists.txt), and they ask the
/// processor whether a kernel's arithmetic was exact: FE_INEXACT. Of the norm's backward, which also computes
/// what is not, the sums over rows are computed again in fp64, and must be equal. Products with an activation
/// that is not exact are passed over. Calls that were not exact, since the last call; in words, at most a
/// few.
std::vector<std::string> take_inexact_calls();
/// How many were asked.
std::int64_t take_exact_calls();

}  // namespace skein
