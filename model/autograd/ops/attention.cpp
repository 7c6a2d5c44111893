#include "model/autograd/ops/attention.h"

#include <cmath>
#include <utility>

#include "model/base/error.h"
#include "model/kernels/work.h"

namespace skein {
namespace {

// Where queries, keys and values lie: in one packed tensor, or in two.
struct Packing {
    std::int64_t query_stride, key_stride, value_stride;
    std::int64_t key_offset, value_offset;  // elements from the start of their tensor
};

kernels::AttentionArgs base_args(const AttentionOptions& options) {
    if (options.key_value_heads <= 0 || options.heads % options.key_value_heads != 0)
        throw ShapeError(text("attention: ", options.heads, " heads over ", options.key_value_heads,
                              " key-value heads, wanted a multiple"));
    kernels::AttentionArgs args;
    args.batch = options.batch;
    args.query_length = options.query_length;
    args.key_length = options.key_length;
    args.heads = options.heads;
    args.key_value_heads = options.key_value_heads;
    args.head_width = options.head_width;
    args.scale = 1.0f / std::sqrt(static_cast<float>(options.head_width));
    args.causal = options.causal;
    args.query_offset = options.query_offset;
    if (options.key_lengths) args.key_lengths = options.key_lengths.data<std::int32_t>();
    if (options.query_lengths) args.query_lengths = options.query_lengths.data<std::int32_t>();
    if (options.bias) {
        check_shape("attention", "bias", options.bias.shape(),
                    {options.heads, options.query_length, options.key_length});
        args.bias = options.bias.value().data<float>();
    }
    if (options.rotary_cos) {
        args.rotary_cos = options.rotary_cos.data<float>();
        args.rotary_sin = options.rotary_sin.data<float>();
    }
    args.dropout = options.dropout;
    args.first_sample = options.first_sample;
    args.first_head = options.first_head;
    return args;
}

// For self-attention `query` holds the keys and values as well, and `key_value` is none.
Var attend(const Var& query, const Var& key_value, const Packing& packing, const AttentionOptions& options) {
    Tape& tape = query.tape();
    const std::int64_t width = options.heads * options.head_width;
    const Tensor y =
        Tensor::empty(tape.stream(), query.value().dtype(), {options.batch * options.query_length, width});
    const Tensor log_sum_exp =
        tape.records()
            ? Tensor::empty(tape.stream(), DType::f32, {options.batch, options.heads, options.query_length})
            : Tensor{};
    kernels::AttentionArgs args = base_args(options);
    const bool packed = !key_value;
    const Tensor keys_and_values = packed ? query.value() : key_value.value();
    args.query = query.value().operand();
    args.key = keys_and_values.operand() + packing.key_offset;
    args.value = keys_and_values.operand() + packing.value_offset;
    args.query_stride = packing.query_stride;
    args.key_stride = packing.key_stride;
    args.value_stride = packing.value_stride;
    args.output = y.operand();
    args.output_stride = width;
    args.log_sum_exp = log_sum_exp ? log_sum_exp.data<float>() : nullptr;
    tape.stream().run(work_of(args), [&](auto& s) { kernels::attention(s, args); });
    tape.inexact(y, Tape::Inexact::kResult);

    // the tensors behind the pointers in args, kept until backward
    struct Kept {
        Tensor query, key_value, y, log_sum_exp, key_lengths, query_lengths, bias, rotary_cos, rotary_sin;
    };
    Kept kept{query.value(),
              keys_and_values,
              y,
              log_sum_exp,
              options.key_lengths,
              options.query_lengths,
              options.bias ? options.bias.value() : Tensor{},
              options.rotary_cos,
              options.rotary_sin};
    return tape.record(
        y, {query, key_value, options.bias},
        [query_node = NodeRef(query), key_value_node = NodeRef(key_value), bias_node = NodeRef(options.bias),
         packing, args, packed, reads_all = options.stored_heads() == options.key_value_heads,
         kept = std::move(kept)](Tape& t, const Tensor& dy) {
            const Tensor dquery = Tensor::empty(t.stream(), kept.query.dtype(), kept.query.shape());
            const auto make = reads_all ? Tensor::empty : Tensor::zeros;
            const Tensor dkey_value =
                packed ? dquery : make(t.stream(), kept.key_value.dtype(), kept.key_value.shape());
            const Tensor dbias = t.needs_gradient(bias_node)
                                     ? Tensor::empty(t.stream(), DType::f32, kept.bias.shape())
                                     : Tensor{};
            kernels::AttentionBackwardArgs back;
            back.forward = args;
            back.output_gradient = dy.operand();
            back.output_gradient_stride = dy.shape()[1];
            back.query_gradient = dquery.operand();
            back.key_gradient = dkey_value.operand() + packing.key_offset;
            back.value_gradient = dkey_value.operand() + packing.value_offset;
            back.query_gradient_stride = packing.query_stride;
            back.key_gradient_stride = packing.key_stride;
            back.value_gradient_stride = packing.value_stride;
            back.bias_gradient = dbias ? dbias.data<float>() : nullptr;
            t.stream().run(work_of(back), [&](auto& s) { kernels::attention_backward(s, back); });
            t.inexact(dquery, Tape::Inexact::kGradient);
            if (!packed) t.inexact(dkey_value, Tape::Inexact::kGradient);
            if (t.needs_gradient(query_node)) t.pass_gradient(query_node, dquery);
            if (!packed && t.needs_gradient(key_value_node)) t.pass_gradient(key_value_node, dkey_value);
            if (dbias) t.pass_gradient(bias_node, dbias);
        });
}

}  // namespace

Var self_attention(const Var& qkv, const AttentionOptions& options) {
    const std::int64_t width = options.heads * options.head_width;
    const std::int64_t kv_width = options.key_value_heads * options.head_width;
    const std::int64_t stride = width + 2 * kv_width;
    check_shape("self_attention", "qkv", qkv.shape(), {options.batch * options.query_length, stride});
    return attend(qkv, {}, {stride, stride, stride, width, width + kv_width}, options);
}

Var cross_attention(const Var& query, const Var& key_value, const AttentionOptions& options) {
    const std::int64_t width = options.heads * options.head_width;
    const std::int64_t kv_width = options.stored_heads() * options.head_width;
    check_shape("cross_attention", "query", query.shape(), {options.batch * options.query_length, width});
    check_shape("cross_attention", "key_value", key_value.shape(),
                {options.batch * options.key_length, 2 * kv_width});
    const std::int64_t first = options.first_key_value_head * options.head_width;
    return attend(query, key_value, {width, 2 * kv_width, 2 * kv_width, first, kv_width + first}, options);
}

Tensor cached_attention(Stream& stream, const Tensor& query, const Tensor& keys, const Tensor& values,
                        const AttentionOptions& options) {
    const std::int64_t width = options.heads * options.head_width;
    const Tensor y = Tensor::empty(stream, query.dtype(), {options.batch * options.query_length, width});
    kernels::AttentionArgs args = base_args(options);
    args.query = query.operand();
    args.query_stride = query.shape()[1];
    args.key = keys.operand() + options.first_key_value_head * options.head_width;
    args.value = values.operand() + options.first_key_value_head * options.head_width;
    args.key_stride = args.value_stride = options.stored_heads() * options.head_width;
    args.output = y.operand();
    args.output_stride = width;
    stream.run(work_of(args), [&](auto& s) { kernels::attention(s, args); });
    return y;
}

}  // namespace skein
