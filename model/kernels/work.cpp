#include "model/kernels/work.h"

#include <algorithm>

namespace skein::kernels {
namespace {

double bytes_of(ConstOperand x, double elements) {
    return x ? static_cast<double>(size_of(x.dtype)) * elements : 0.0;
}

/// Of what is written, and first read where it is added to.
double bytes_of_result(ConstOperand x, double elements, bool accumulate) {
    return (accumulate ? 2.0 : 1.0) * bytes_of(x, elements);
}

double real(std::int64_t count) {
    return static_cast<double>(count);
}

double sum_to(std::int64_t n) {  // 1 + 2 + ... + n
    return n > 0 ? 0.5 * real(n) * real(n + 1) : 0.0;
}

/// Query i sees min(key_length, i + query_offset + 1) keys, which is none where that is below 0.
double visible_pairs(const AttentionArgs& args) {
    if (!args.causal) return real(args.query_length) * real(args.key_length);
    const std::int64_t first = args.query_offset + 1, end = args.query_offset + args.query_length;
    const std::int64_t growing_end = std::min(end, args.key_length);
    const std::int64_t full = end - std::max({growing_end, first - 1, std::int64_t{0}});
    return std::max(0.0, sum_to(growing_end) - sum_to(first - 1)) +
           real(std::max<std::int64_t>(full, 0)) * real(args.key_length);
}

double queries(const AttentionArgs& args) {
    return real(args.batch) * real(args.query_length) * real(args.heads) * real(args.head_width);
}
double keys(const AttentionArgs& args) {
    return real(args.batch) * real(args.key_length) * real(args.key_value_heads) * real(args.head_width);
}
double rotary_bytes(const AttentionArgs& args) {
    const std::int64_t positions = std::max(args.query_length + args.query_offset, args.key_length);
    return args.rotary_cos ? 4.0 * real(positions) * real(args.head_width) : 0.0;
}
double bias_elements(const AttentionArgs& args) {
    return real(args.heads) * real(args.query_length) * real(args.key_length);
}
double statistics_bytes(const AttentionArgs& args) {
    return args.log_sum_exp ? 4.0 * real(args.batch) * real(args.heads) * real(args.query_length) : 0.0;
}
/// Of one product over all visible pairs.
double product_flops(const AttentionArgs& args) {
    return 2.0 * real(args.batch) * real(args.heads) * visible_pairs(args) * real(args.head_width);
}

const char* name_of(const GemmArgs& args, ProductOf of) {
    const bool head = of == ProductOf::kOutputHead;
    if (args.transpose_a) return head ? "head wgrad" : "gemm wgrad";
    const bool forward = args.transpose_b;
    if (head) return forward ? "head forward" : "head dgrad";
    if (args.epilogue == Epilogue::kNone) return forward ? "gemm forward" : "gemm dgrad";
    return forward ? "gemm forward, activation" : "gemm dgrad, activation";
}

double elements(const CrossEntropyArgs& args) {
    return real(args.rows) * real(args.vocabulary);
}
// loss, nll, correct; and the targets
constexpr double kOfARow = 3.0 * 8.0 + 4.0;

}  // namespace

Work work_of(const GemmArgs& args, ProductOf of) {
    const double m = real(args.m), n = real(args.n), k = real(args.k);
    Work work{name_of(args, of)};
    work.bytes = bytes_of(args.a, m * k) + bytes_of(args.b, k * n) +
                 bytes_of_result(args.c, m * n, args.accumulate) + bytes_of(args.aux, m * n) +
                 (args.bias ? 4.0 * n : 0.0);
    work.flops = 2.0 * m * n * k;
    return work;
}

Work work_of(const AttentionArgs& args) {
    Work work{"attention forward"};
    work.bytes = bytes_of(args.query, queries(args)) + bytes_of(args.key, keys(args)) +
                 bytes_of(args.value, keys(args)) + bytes_of(args.output, queries(args)) +
                 statistics_bytes(args) + rotary_bytes(args) + bytes_of(args.bias, bias_elements(args));
    work.flops = 2.0 * product_flops(args);
    return work;
}

Work work_of(const AttentionBackwardArgs& args) {
    const AttentionArgs& forward = args.forward;
    Work work{"attention backward"};
    work.bytes = work_of(forward).bytes + bytes_of(args.output_gradient, queries(forward)) +
                 bytes_of(args.query_gradient, queries(forward)) +
                 bytes_of(args.key_gradient, keys(forward)) + bytes_of(args.value_gradient, keys(forward)) +
                 bytes_of(args.bias_gradient, bias_elements(forward));
    work.flops = 5.0 * product_flops(forward);
    return work;
}

Work work_of(const LayerNormArgs& args) {
    const double all = real(args.rows) * real(args.width);
    Work work{"norm forward"};
    work.bytes = bytes_of(args.x, all) + bytes_of(args.y, all) + 8.0 * real(args.rows) +
                 (args.beta ? 8.0 : 4.0) * real(args.width);
    if (args.delta) work.bytes += bytes_of(args.delta, all) + bytes_of(args.sum, all);
    work.flops = (args.delta ? 9.0 : 8.0) * all;
    return work;
}

Work work_of(const LayerNormBackwardArgs& args) {
    const double all = real(args.rows) * real(args.width);
    Work work{"norm backward"};
    work.bytes = bytes_of(args.sum, all) + bytes_of(args.dy, all) +
                 bytes_of_result(args.dsum, all, args.accumulate_sum) + 8.0 * real(args.rows) +
                 bytes_of(args.gamma, real(args.width)) +
                 bytes_of_result(args.dgamma, real(args.width), args.accumulate_gamma) +
                 bytes_of_result(args.dbeta, real(args.width), args.accumulate_beta);
    work.flops = 13.0 * all;
    return work;
}

Work work_of(const EmbeddingArgs& args) {
    const double width = real(args.width);
    Work work{"embedding forward"};
    work.bytes = bytes_of(args.table, real(std::min(args.rows, args.vocabulary)) * width) +
                 bytes_of(args.positions, real(std::min(args.rows, args.place.positions)) * width) +
                 bytes_of(args.y, real(args.rows) * width) + 4.0 * real(args.rows);
    work.flops = (args.positions ? 2.0 : 1.0) * real(args.rows) * width;
    return work;
}

Work work_of(const EmbeddingBackwardArgs& args) {
    const double width = real(args.width);
    // what is not added to is written whole, else the rows that are named are read and written
    const auto of_a_table = [&](const float* table, std::int64_t rows, std::int64_t named, bool accumulate) {
        return bytes_of_result(table, real(accumulate ? std::min(args.rows, named) : rows) * width,
                               accumulate);
    };
    Work work{"embedding backward"};
    work.bytes = bytes_of(args.dy, real(args.rows) * width) + 4.0 * real(args.rows) +
                 of_a_table(args.dtable, args.vocabulary, args.vocabulary, args.accumulate_table) +
                 of_a_table(args.dpositions, args.context, args.place.positions, args.accumulate_positions);
    work.flops = ((args.dtable ? 2.0 : 0.0) + (args.dpositions ? 1.0 : 0.0)) * real(args.rows) * width;
    return work;
}

Work work_of(const CrossEntropyArgs& args) {
    const double all = elements(args);
    Work work{"cross-entropy"};
    work.bytes = 4.0 * all + bytes_of(args.gradient, all) + kOfARow * real(args.rows);
    work.flops = (args.gradient ? 8.0 : 5.0) * all;
    return work;
}

Work parts_work(const CrossEntropyArgs& args) {
    return {"cross-entropy", 4.0 * elements(args) + (4.0 + sizeof(VocabularyPart)) * real(args.rows),
            elements(args)};
}

Work sums_work(const CrossEntropyArgs& args) {
    return {"cross-entropy", 4.0 * elements(args) + sizeof(VocabularySums) * real(args.rows),
            4.0 * elements(args)};
}

Work of_parts_work(const CrossEntropyArgs& args) {
    Work work{"cross-entropy", kOfARow * real(args.rows)};
    if (!args.gradient) return work;
    work.bytes += 4.0 * elements(args) + bytes_of(args.gradient, elements(args));
    work.flops = 3.0 * elements(args);
    return work;
}

Work sum_samples_work(std::int64_t samples, std::int64_t length) {
    return {"sums of samples", 8.0 * real(samples) * real(length + 1), real(samples) * real(length)};
}

Work copy_or_add_work(ConstOperand source, ConstOperand target, std::int64_t count, bool accumulate) {
    const char* name = accumulate ? "add" : source.dtype == target.dtype ? "copy" : "convert";
    return {name, bytes_of(source, real(count)) + bytes_of_result(target, real(count), accumulate),
            accumulate ? real(count) : 0.0};
}

Work dropout_work(std::int64_t rows, std::int64_t width, ConstOperand x, ConstOperand y, bool accumulate) {
    const double all = real(rows) * real(width);
    return {"dropout", bytes_of(x, all) + bytes_of_result(y, all, accumulate),
            (accumulate ? 2.0 : 1.0) * all};
}

Work column_sums_work(std::int64_t rows, std::int64_t width, ConstOperand x, bool accumulate) {
    const double all = real(rows) * real(width);
    return {"bias gradient", bytes_of(x, all) + (accumulate ? 8.0 : 4.0) * real(width), all};
}

Work work_of(const SumPartsArgs& args) {
    const double count = real(args.count), parts = real(args.parts);
    return {"sum over ranks",
            bytes_of(args.others, (parts - 1.0) * count) + bytes_of(args.own_part, count) +
                bytes_of(args.y, count),
            (parts - 1.0) * count};
}

Work work_of(const GatherRowsArgs& args) {
    return {"gather rows", real(args.rows) * (2.0 * static_cast<double>(args.bytes) + 4.0)};
}

Work square_sums_work(std::span<const AdamTensor> tensors) {
    Work work{"gradient norm"};
    for (const AdamTensor& tensor : tensors) work.bytes += 4.0 * real(tensor.count);
    work.flops = work.bytes / 2.0;  // a square, and its addition
    return work;
}

Work adam_work(std::span<const AdamTensor> tensors, DType copies) {
    Work work{"Adam"};
    for (const AdamTensor& tensor : tensors) {
        const double count = real(tensor.count);
        // the gradient read; parameter and both moments read and written
        work.bytes += 28.0 * count + bytes_of({tensor.copy, copies}, count) + bytes_of(tensor.sent, count);
        work.flops += 17.0 * count;
    }
    return work;
}

Work take_work(std::span<const AdamTensor> tensors, DType copies) {
    Work work{"take parameters"};
    for (const AdamTensor& tensor : tensors)
        work.bytes += 4.0 * real(tensor.count) + bytes_of(tensor.parameter, real(tensor.count)) +
                      bytes_of({tensor.copy, copies}, real(tensor.count));
    return work;
}

Work work_of(const EndStepArgs& args) {
    return {"end of step", 8.0 * real(args.samples + args.blocks), real(args.samples + args.blocks)};
}

}  // namespace skein::kernels
