#pragma once

#include <functional>
#include <string>

#include "model/kernels/attention.h"
#include "model/tensor/tensor.h"

namespace skein::test {

/// Normal values with deviation 0.5.
Tensor normal_values(Stream& stream, DType dtype, const Shape& shape);

/// "WHAT: 0.123 ms, 456 TFLOP/s, 789 GB/s" on standard output: the mean of many calls of `queue`, which
/// queues work on the stream.
void print_time(Stream& stream, const std::string& what, double flops, double bytes,
                const std::function<void()>& queue);

/// The times of products in the shapes of GPT-2 124M with 8,192 tokens, and of attention there.
void print_times();
/// Of cuDNN's attention, forward, with these arguments.
void print_cudnn_time(Stream& stream, const std::string& what, const kernels::AttentionArgs& args,
                      double flops, double bytes);

}  // namespace skein::test
