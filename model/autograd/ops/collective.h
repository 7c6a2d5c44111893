#pragma once

#include "model/autograd/tape.h"
#include "model/autograd/tensor_group.h"

/// Where the activations of a tensor-parallel model pass from one rank's hands into all ranks' (Shoeybi et
/// al., Megatron-LM, 2019, section 3), and with sequence parallelism back into slices of their rows
/// (Korthikanti et al., 2022, section 4.2). Every rank of the group runs them in the same order, forward and
/// backward. x: [rows, width].
namespace skein {

/// In front of what each rank does with a part of the weights: x is the same on all ranks, and its gradient
/// is the sum of theirs.
Var copy_to_group(TensorGroup& group, const Var& x);
/// Behind it: the sum of all ranks' x. The gradient, which is the same on all ranks, passes as it is.
Var sum_over_group(TensorGroup& group, const Var& x);

/// copy_to_group where each rank has only its slice of the rows: all of them, of which there are `rows`. The
/// gradient's sum goes back to the slices.
Var gather_from_group(TensorGroup& group, const Var& slice, std::int64_t rows);
/// sum_over_group where each rank wants only its slice of the rows. The gradient is gathered.
Var scatter_sum_to_group(TensorGroup& group, const Var& x);

}  // namespace skein
