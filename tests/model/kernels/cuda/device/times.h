#pragma once

#include <functional>
#include <string>

namespace skein::test {

/// "WHAT: 0.123 ms, 456 TFLOP/s, 789 GB/s" on standard output: the mean of many calls of `queue`, which
/// queues work on the default stream.
void print_time(const std::string& what, double flops, double bytes, const std::function<void()>& queue);

/// The times of products in the shapes of GPT-2 124M with 8,192 tokens, and of attention there.
void print_times();
void print_cudnn_times();

}  // namespace skein::test
