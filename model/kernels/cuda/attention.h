#pragma once

#include <cstdint>

#include "model/kernels/attention.h"
#include "model/kernels/cuda/cuda_stream.h"

namespace skein::kernels {

/// As for CpuStream (model/kernels/attention.h), without a score matrix in memory: a block holds a tile of
/// queries and goes over the keys in tiles, with a running softmax (Dao, FlashAttention-2, 2023). bf16 and
/// fp16 go through the tensor cores; probabilities and the gradients of scores are rounded to that type before
/// they are multiplied, and so are queries and keys after a rotation. fp32 is fp32 throughout, never TF32.
///
/// Heads of any width up to 256 (work is done for 32, 64, 128 or 256 channels; fastest where widths and
/// strides are multiples of 8 and addresses of 16 bytes), lengths and positions up to 2^30: else ShapeError.
///
/// Tiles are counted from each sample's first query and key, and their sizes depend on dtype and width alone:
/// so do the bits of a sample. Nothing is added atomically.
///
/// Work, with P = batch · heads · visible pairs of query and key (half of all if causal: tiles above the
/// diagonal are passed over):
///   forward   4 · P · width FLOPs; reads q once and k and v for every 64 queries (128 for heads up to 64 wide
///             in 16 bits), from the L2 cache as a rule; writes the output once
///   backward  14 · P · width FLOPs, 4 of which are the scores and their gradients taken a second time, for
///             the keys' gradients and for the queries', so that neither needs an atomic sum; reads q, k, v
///             and dO once for each and then again for every 64 keys or queries of the other side. Keys'
///             gradients of heads wider than 128 take the scores once more.
/// Both wait for nothing: they return when the kernels are queued.
void attention(CudaStream& stream, const AttentionArgs& args);

/// The gradients of keys and values are summed over the heads of a group, and within a head over the queries,
/// in order. A bias gradient costs as much again as all the others.
/// workspace: attention_backward_workspace(args) floats.
void attention_backward(CudaStream& stream, const AttentionBackwardArgs& args, float* workspace);
std::int64_t attention_backward_workspace(const AttentionBackwardArgs& args);

}  // namespace skein::kernels
