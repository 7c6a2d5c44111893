#include "tests/model/kernels/cuda/device/times.h"

#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "model/base/error.h"
#include "model/kernels/elementwise.h"
#include "model/kernels/gemm.h"
#include "model/kernels/initial_values.h"

namespace skein::test {
namespace {

constexpr std::int64_t kBatch = 32, kLength = 1024, kTokens = kBatch * kLength, kHeads = 12, kHeadWidth = 64,
                       kWidth = kHeads * kHeadWidth;

double size(DType dtype, std::int64_t count) {
    return static_cast<double>(size_of(dtype)) * static_cast<double>(count);
}

/// c: [m, n] in `c_type` = op(a) · op(b), everything packed.
void print_product(Stream& stream, const std::string& what, bool transpose_a, bool transpose_b,
                   std::int64_t m, std::int64_t n, std::int64_t k, DType type, DType c_type,
                   bool accumulate) {
    const Tensor a = normal_values(stream, type, {m * k}), b = normal_values(stream, type, {k * n}),
                 c = normal_values(stream, c_type, {m * n});
    kernels::GemmArgs args{.transpose_a = transpose_a, .transpose_b = transpose_b, .m = m, .n = n, .k = k};
    args.a = a.operand(), args.lda = transpose_a ? m : k;
    args.b = b.operand(), args.ldb = transpose_b ? k : n;
    args.c = c.operand(), args.ldc = n;
    args.accumulate = accumulate;
    const double bytes =
        size(type, m * k) + size(type, k * n) + size(c_type, m * n) * (accumulate ? 2.0 : 1.0);
    const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    print_time(stream, text(what, ", ", name_of(type), ", ", m, " x ", n, " x ", k), flops, bytes,
               [&] { stream.run([&](auto& s) { kernels::gemm(s, args); }); });
}

void print_products(Stream& stream, DType type) {
    struct Layer {
        const char* name;
        std::int64_t out, in;
    };
    for (const Layer& layer : {Layer{"query, key, value", 3 * kWidth, kWidth},
                               {"attention's projection", kWidth, kWidth},
                               {"feed-forward up", 4 * kWidth, kWidth},
                               {"feed-forward down", kWidth, 4 * kWidth},
                               {"output head", 50304, kWidth}}) {
        const std::string name = layer.name;
        print_product(stream, name + ", forward", false, true, kTokens, layer.out, layer.in, type, type,
                      false);
        print_product(stream, name + ", input's gradient", false, false, kTokens, layer.in, layer.out, type,
                      type, false);
        print_product(stream, name + ", weight's gradient", true, false, layer.out, layer.in, kTokens, type,
                      DType::f32, true);
    }
}

void print_attention(Stream& stream, DType type, bool causal) {
    const Tensor packed = normal_values(stream, type, {kTokens, 3 * kWidth}),
                 output = normal_values(stream, type, {kTokens, kWidth}),
                 output_gradient = normal_values(stream, type, {kTokens, kWidth}),
                 packed_gradient = Tensor::zeros(stream, type, {kTokens, 3 * kWidth}),
                 log_sum_exp = Tensor::zeros(stream, DType::f32, {kBatch, kHeads, kLength});
    kernels::AttentionArgs args;
    args.batch = kBatch, args.query_length = args.key_length = kLength;
    args.heads = args.key_value_heads = kHeads, args.head_width = kHeadWidth;
    args.scale = 1.0f / std::sqrt(static_cast<float>(kHeadWidth));
    args.causal = causal;
    args.query = packed.operand();
    args.key = args.query + kWidth;
    args.value = args.query + 2 * kWidth;
    args.query_stride = args.key_stride = args.value_stride = 3 * kWidth;
    args.output = output.operand(), args.output_stride = kWidth;
    args.log_sum_exp = log_sum_exp.data<float>();
    kernels::AttentionBackwardArgs back{.forward = args};
    back.output_gradient = output_gradient.operand(), back.output_gradient_stride = kWidth;
    back.query_gradient = packed_gradient.operand();
    back.key_gradient = back.query_gradient + kWidth;
    back.value_gradient = back.query_gradient + 2 * kWidth;
    back.query_gradient_stride = back.key_gradient_stride = back.value_gradient_stride = 3 * kWidth;

    const std::string what = text("attention, ", name_of(type), causal ? ", causal" : ", full");
    const double pairs = static_cast<double>(kBatch * kHeads * kLength * kLength) * (causal ? 0.5 : 1.0),
                 product = 2.0 * pairs * static_cast<double>(kHeadWidth), row = size(type, kTokens * kWidth);
    print_time(stream, what + ", forward", 2.0 * product, 4.0 * row,
               [&] { stream.run([&](auto& s) { kernels::attention(s, args); }); });
    if (type != DType::f32)
        print_cudnn_time(stream, what + ", forward, by cuDNN", args, 2.0 * product, 4.0 * row);
    print_time(stream, what + ", backward (five products counted)", 5.0 * product, 8.0 * row,
               [&] { stream.run([&](auto& s) { kernels::attention_backward(s, back); }); });
}

}  // namespace

Tensor normal_values(Stream& stream, DType dtype, const Shape& shape) {
    const Tensor values = Tensor::empty(stream, DType::f32, shape), out = Tensor::empty(stream, dtype, shape);
    kernels::InitialValuesArgs args{.kind = kernels::InitialKind::kNormal, .scale = 0.5, .key = {1, 2}};
    args.count = values.elements();
    args.values = values.data<float>();
    stream.run([&](auto& s) {
        kernels::fill_initial_values(s, args);
        kernels::copy_or_add(s, values.operand(), out.operand(), args.count, false);
    });
    return out;
}

void print_time(Stream& stream, const std::string& what, double flops, double bytes,
                const std::function<void()>& queue) {
    constexpr int kWarm = 5, kCalls = 50;
    for (int i = 0; i < kWarm; ++i) queue();
    stream.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) queue();
    stream.synchronize();
    const std::chrono::duration<double> all = std::chrono::steady_clock::now() - begin;
    const double seconds = all.count() / kCalls;
    std::cout << what << ": " << std::fixed << std::setprecision(4) << seconds * 1e3 << " ms, "
              << std::setprecision(1) << flops / seconds / 1e12 << " TFLOP/s, " << bytes / seconds / 1e9
              << " GB/s\n";
}

void print_times() {
    Stream stream(Gpu{0}, 1);
    for (const DType type : {DType::bf16, DType::f32}) {
        print_products(stream, type);
        for (const bool causal : {true, false}) print_attention(stream, type, causal);
    }
}

}  // namespace skein::test
