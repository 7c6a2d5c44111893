// attention_bench [REPETITIONS [PART OF A SHAPE'S NAME]]
//
// Times attention on the shapes that matter: the least milliseconds and GFLOP/s of useful work (products of
// visible query-key pairs: two forward, five backward). Built with the tests, not run by them.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "model/kernels/attention.h"

namespace {

using namespace skein;
using namespace skein::kernels;

struct Shape {
    const char* name;
    std::int64_t batch, query_length, key_length, heads, key_value_heads, head_width;
    bool causal = true, ragged = false, rotary = false;
    double dropout = 0.0;
};

template <class F>
double least_milliseconds(int repetitions, F f) {
    f();
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repetitions; ++i) {
        const auto start = std::chrono::steady_clock::now();
        f();
        const auto end = std::chrono::steady_clock::now();
        least = std::min(least, std::chrono::duration<double, std::milli>(end - start).count());
    }
    return least;
}

void bench(const Shape& shape, int threads, int repetitions) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto tensor = [&](std::int64_t count) {
        std::vector<float> out(static_cast<std::size_t>(count));
        for (float& x : out) x = normal(random);
        return out;
    };
    const std::int64_t query_width = shape.heads * shape.head_width,
                       key_width = shape.key_value_heads * shape.head_width;
    const std::int64_t queries = shape.batch * shape.query_length, keys = shape.batch * shape.key_length;
    const std::int64_t positions = shape.key_length * shape.head_width / 2;
    auto query = tensor(queries * query_width), output = query, query_gradient = query;
    auto key = tensor(keys * key_width), value = tensor(keys * key_width), key_gradient = key,
         value_gradient = key;
    auto output_gradient = tensor(queries * query_width), cosines = tensor(positions),
         sines = tensor(positions);
    auto log_sum_exp = tensor(queries * shape.heads);
    std::vector<std::int32_t> lengths;
    for (std::int64_t b = 0; b < shape.batch; ++b)
        lengths.push_back(static_cast<std::int32_t>(shape.key_length - b % (shape.key_length / 2)));

    AttentionArgs args;
    args.batch = shape.batch, args.query_length = shape.query_length, args.key_length = shape.key_length;
    args.heads = shape.heads, args.key_value_heads = shape.key_value_heads,
    args.head_width = shape.head_width;
    args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
    args.query = query.data(), args.key = key.data(), args.value = value.data();
    args.query_stride = query_width, args.key_stride = key_width, args.value_stride = key_width;
    args.causal = shape.causal, args.query_offset = shape.key_length - shape.query_length;
    if (shape.ragged) args.key_lengths = lengths.data();
    if (shape.ragged && shape.query_length == shape.key_length) args.query_lengths = lengths.data();
    if (shape.rotary) args.rotary_cos = cosines.data(), args.rotary_sin = sines.data();
    if (shape.dropout > 0) args.dropout = make_dropout(shape.dropout, {1, 2});
    args.output = output.data(), args.output_stride = query_width;
    args.log_sum_exp = log_sum_exp.data();
    AttentionBackwardArgs backward;
    backward.forward = args;
    backward.output_gradient = output_gradient.data(), backward.output_gradient_stride = query_width;
    backward.query_gradient = query_gradient.data(), backward.query_gradient_stride = query_width;
    backward.key_gradient = key_gradient.data(), backward.key_gradient_stride = key_width;
    backward.value_gradient = value_gradient.data(), backward.value_gradient_stride = key_width;

    double pairs = 0;
    for (std::int64_t b = 0; b < shape.batch; ++b) {
        const std::int64_t seen = args.key_lengths ? lengths[static_cast<std::size_t>(b)] : shape.key_length;
        const std::int64_t rows =
            args.query_lengths ? lengths[static_cast<std::size_t>(b)] : shape.query_length;
        for (std::int64_t i = 0; i < rows; ++i)
            pairs += static_cast<double>(shape.causal ? std::min(seen, i + args.query_offset + 1) : seen);
    }
    const double product = 2e-6 * pairs * static_cast<double>(query_width);  // of 10^6 operations
    CpuStream stream{threads, nullptr};
    const double forward_time = least_milliseconds(repetitions, [&] { attention(stream, args); });
    const double backward_time =
        least_milliseconds(repetitions, [&] { attention_backward(stream, backward); });
    std::printf("%-34s %d %9.3f ms %7.1f GFLOP/s %9.3f ms %7.1f GFLOP/s\n", shape.name, threads, forward_time,
                2 * product / forward_time, backward_time, 5 * product / backward_time);
}

}  // namespace

int main(int argc, char** argv) {
    const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
    const Shape shapes[] = {
        {"gpt-nano 12x64, 4x32", 12, 64, 64, 4, 4, 32},
        {"gpt-nano, dropout", 12, 64, 64, 4, 4, 32, true, false, false, 0.1},
        {"gpt-mini 16x256, 6x64", 16, 256, 256, 6, 6, 64},
        {"gpt-mini, dropout", 16, 256, 256, 6, 6, 64, true, false, false, 0.1},
        {"gpt-mini, rotary", 16, 256, 256, 6, 6, 64, true, false, true},
        {"gpt2-124m 4x256, 12x64", 4, 256, 256, 12, 12, 64},
        {"gpt2-124m 1x1024, 12x64", 1, 1024, 1024, 12, 12, 64},
        {"encoder 32x32, 8x64", 32, 32, 32, 8, 8, 64, false},
        {"translation 32x48 ragged, 8x64", 32, 48, 48, 8, 8, 64, false, true},
        {"grouped 4x256, 12 on 3, x64", 4, 256, 256, 12, 3, 64},
        {"one query, 4x1024 keys, 12x64", 4, 1, 1024, 12, 12, 64},
        {"one query, 4x1024 keys, 12 on 3", 4, 1, 1024, 12, 3, 64},
    };
    std::printf("%-34s %s %12s %15s %12s %15s\n", "shape", "threads", "forward", "", "backward", "");
    for (const Shape& shape : shapes)
        if (argc < 3 || std::strstr(shape.name, argv[2]))
            for (int threads : {1, 2}) bench(shape, threads, repetitions);
}
