#pragma once

#include <cstdint>

#include "model/kernels/attention.h"
#include "model/kernels/cuda/cuda_stream.h"

namespace skein::kernels {

/// As for CpuStream (model/kernels/attention.h), without a score matrix in memory: a block holds a tile of
/// queries and goes over the keys in tiles, with a running softmax (Dao, FlashAttention-2, 2023). bf16 and
/// fp16 go through the tensor cores, probabilities and the gradients of scores rounded to that type before
/// they are multiplied, and so are queries and keys after a rotation; fp32 is fp32 throughout.
///
/// Heads of any width up to 256 (work is done for 32, 64, 128 or 256 channels; fastest where widths and
/// strides are multiples of 8 and addresses of 16 bytes), lengths and positions below 2^30: else ShapeError.
///
/// Tiles are counted from each sample's first query and key and have sizes that depend on dtype and width
/// alone, so the bits of a sample do too. Nothing is added atomically.
///
/// Work, with P = batch · heads · visible (query, key) pairs (half of all if causal: tiles above the diagonal
/// are passed over): forward 4 · P · head_width FLOPs, and each 64 or 128 queries read the keys and values
/// once; backward 14 · P · head_width, of which 4 are the scores and their gradients taken a second time,
/// once for the keys' gradients and once for the queries', so that neither needs an atomic sum.
void attention(CudaStream& stream, const AttentionArgs& args);

/// The gradients of keys and values are summed over the heads of a group, and within a head over the queries,
/// in order. A bias gradient costs as much again as all the others.
/// workspace: attention_backward_workspace(args) floats.
void attention_backward(CudaStream& stream, const AttentionBackwardArgs& args, float* workspace);
std::int64_t attention_backward_workspace(const AttentionBackwardArgs& args);

}  // namespace skein::kernels
