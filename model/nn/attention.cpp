#include "model/nn/attention.h"

#include "model/autograd/ops/linear.h"
#include "model/tensor/memory.h"

namespace skein {
namespace {

// Rows [samples · length, from.columns], columns [column, column + cache width), into positions `at` of the
// cache, which is of the same dtype.
void append(Stream& stream, const Tensor& from, std::int64_t column, const Tensor& cache,
            std::int64_t samples, std::int64_t at) {
    const std::int64_t length = from.shape()[0] / samples, stride = from.shape()[1];
    const std::int64_t context = cache.shape()[1], width = cache.shape()[2];
    const auto element = static_cast<std::int64_t>(size_of(cache.dtype()));
    const auto bytes = [&](std::int64_t elements) { return static_cast<std::size_t>(elements * element); };
    const auto copy = [&](std::int64_t sample, std::int64_t t, std::int64_t from_stride,
                          std::int64_t to_stride, std::int64_t rows) {
        stream.run([&](auto& s) {
            copy_rows(s, from.raw() + bytes((sample * length + t) * stride + column), bytes(from_stride),
                      cache.raw() + bytes((sample * context + at + t) * width), bytes(to_stride),
                      bytes(width), static_cast<std::size_t>(rows));
        });
    };
    if (length == 1) {
        copy(0, 0, stride, context * width, samples);
    } else {
        for (std::int64_t sample = 0; sample < samples; ++sample) copy(sample, 0, stride, width, length);
    }
}

Var project(const Var& x, const LinearWeights& weights) {
    return linear(x, weights.weight_on(x.tape()), weights.bias_on(x.tape()));
}

}  // namespace

SelfAttention::SelfAttention(Builder& builder, const std::string& name, bool causal)
    : heads_(builder.config().heads),
      key_value_heads_(builder.config().kv_heads()),
      head_width_(builder.config().head_width()),
      causal_(causal) {
    const std::int64_t width = builder.config().width;
    if (key_value_heads_ == heads_) {
        qkv_ = builder.linear(name + ".qkv", width, 3 * width, Builder::Into::kHidden, 3);
    } else {
        query_ = builder.linear(name + ".query", width, width, Builder::Into::kHidden);
        key_value_ = builder.linear(name + ".key_value", width, 2 * key_value_heads_ * head_width_,
                                    Builder::Into::kHidden, 2);
    }
    output_ = builder.linear(name + ".output", width, width, Builder::Into::kResidual);
    dropout_ = builder.dropout(builder.config().attention_dropout());
}

Var SelfAttention::operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass,
                              const Tensor& lengths) const {
    AttentionOptions options;
    options.batch = x.shape()[0] / place.positions;
    options.query_length = options.key_length = place.positions;
    options.heads = heads_;
    options.key_value_heads = key_value_heads_;
    options.head_width = head_width_;
    options.causal = causal_;
    options.key_lengths = options.query_lengths = lengths;
    options.dropout = dropout_.at(pass);
    options.first_sample = place.first_sample;
    const Var mixed = qkv_.weight ? self_attention(project(x, qkv_), options)
                                  : cross_attention(project(x, query_), project(x, key_value_), options);
    return project(mixed, output_);
}

Var SelfAttention::decode(const Var& x, KeyValueCache& cache, std::int64_t state_length,
                          std::int64_t samples) const {
    Tape& tape = x.tape();
    const std::int64_t length = x.shape()[0] / samples, width = heads_ * head_width_;
    const Tensor query = project(x, qkv_.weight ? qkv_ : query_).value();
    const Tensor key_value = qkv_.weight ? query : project(x, key_value_).value();
    const std::int64_t key_column = qkv_.weight ? width : 0;
    append(tape.stream(), key_value, key_column, cache.keys, samples, state_length);
    append(tape.stream(), key_value, key_column + key_value_heads_ * head_width_, cache.values, samples,
           state_length);

    AttentionOptions options;
    options.batch = samples;
    options.query_length = length;
    options.key_length = cache.keys.shape()[1];
    options.heads = heads_;
    options.key_value_heads = key_value_heads_;
    options.head_width = head_width_;
    options.causal = true;  // hides what the cache does not hold yet
    options.query_offset = state_length;
    return project(tape.constant(cached_attention(tape.stream(), query, cache.keys, cache.values, options)),
                   output_);
}

CrossAttention::CrossAttention(Builder& builder, const std::string& name)
    : heads_(builder.config().heads),
      key_value_heads_(builder.config().kv_heads()),
      head_width_(builder.config().head_width()) {
    const std::int64_t width = builder.config().width;
    query_ = builder.linear(name + ".query", width, width, Builder::Into::kHidden);
    key_value_ = builder.linear(name + ".key_value", width, 2 * key_value_heads_ * head_width_,
                                Builder::Into::kHidden, 2);
    output_ = builder.linear(name + ".output", width, width, Builder::Into::kResidual);
    dropout_ = builder.dropout(builder.config().attention_dropout());
}

AttentionOptions CrossAttention::options(std::int64_t samples, std::int64_t queries,
                                         std::int64_t keys) const {
    AttentionOptions options;
    options.batch = samples;
    options.query_length = queries;
    options.key_length = keys;
    options.heads = heads_;
    options.key_value_heads = key_value_heads_;
    options.head_width = head_width_;
    return options;
}

Var CrossAttention::operator()(const Var& x, const kernels::RowPlace& place, const EncodedSource& source,
                               const Tensor& lengths, const PassContext& pass) const {
    AttentionOptions seen = options(x.shape()[0] / place.positions, place.positions, source.length);
    seen.key_lengths = source.lengths;
    seen.query_lengths = lengths;
    seen.dropout = dropout_.at(pass);
    seen.first_sample = place.first_sample;
    return project(cross_attention(project(x, query_), project(source.states, key_value_), seen), output_);
}

Tensor CrossAttention::keys_and_values(const EncodedSource& source) const {
    return project(source.states, key_value_).value();
}

Var CrossAttention::decode(const Var& x, const Tensor& keys_and_values, const Tensor& source_lengths) const {
    const std::int64_t samples = source_lengths.shape()[0];
    AttentionOptions seen = options(samples, x.shape()[0] / samples, keys_and_values.shape()[0] / samples);
    seen.key_lengths = source_lengths;
    return project(cross_attention(project(x, query_), x.tape().constant(keys_and_values), seen), output_);
}

}  // namespace skein
