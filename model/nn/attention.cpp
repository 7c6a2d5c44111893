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

Var project(const Var& x, const LinearWeights& weights, BiasUse use = BiasUse::kAdd) {
    return linear(x, weights.weight_on(x.tape()), weights.bias_on(x.tape()), use);
}

// Every rank has the key-value weights of its heads; or all, and uses some.
Builder::Share share_of_key_values(const OwnHeads& own) {
    return own.copies_key_values ? Builder::Share::kNothing : Builder::Share::kOutput;
}

AttentionOptions options_of(const OwnHeads& own, std::int64_t samples, std::int64_t queries,
                            std::int64_t keys) {
    AttentionOptions options;
    options.batch = samples;
    options.query_length = queries;
    options.key_length = keys;
    options.heads = own.heads;
    options.first_head = own.first_head;
    options.key_value_heads = own.key_value_heads;
    options.stored_key_value_heads = own.stored_key_value_heads;
    options.first_key_value_head = own.first_key_value_head;
    options.head_width = own.head_width;
    return options;
}

}  // namespace

SelfAttention::SelfAttention(Builder& builder, const std::string& name, bool causal)
    : own_(builder.config(), builder.sharing()),
      output_bias_(builder.sharing().bias_of_a_sum()),
      causal_(causal) {
    const ModelConfig& config = builder.config();
    if (config.kv_heads() == config.heads) {
        qkv_ = builder.packed_linear(name + ".qkv", config.width, 3, config.heads, Builder::Share::kOutput);
    } else {
        query_ = builder.linear(name + ".query", config.width, config.width, Builder::Share::kOutput);
        key_value_ = builder.packed_linear(name + ".key_value", config.width, 2, config.kv_heads(),
                                           share_of_key_values(own_));
    }
    output_ = builder.projection(name + ".output", config.width, Builder::Share::kInput);
    dropout_ = builder.dropout(config.attention_dropout());
}

Var SelfAttention::operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass,
                              const Tensor& lengths) const {
    AttentionOptions options =
        options_of(own_, x.shape()[0] / place.positions, place.positions, place.positions);
    options.causal = causal_;
    options.key_lengths = options.query_lengths = lengths;
    options.dropout = dropout_.at(pass);
    options.first_sample = place.first_sample;
    const Var mixed = qkv_.weight ? self_attention(project(x, qkv_), options)
                                  : cross_attention(project(x, query_), project(x, key_value_), options);
    return project(mixed, output_, output_bias_);
}

Var SelfAttention::decode(const Var& x, KeyValueCache& cache, std::int64_t state_length,
                          std::int64_t samples) const {
    Tape& tape = x.tape();
    const Tensor query = project(x, qkv_.weight ? qkv_ : query_).value();
    const Tensor key_value = qkv_.weight ? query : project(x, key_value_).value();
    const std::int64_t key_column = qkv_.weight ? own_.width() : 0;
    append(tape.stream(), key_value, key_column, cache.keys, samples, state_length);
    append(tape.stream(), key_value, key_column + own_.stored_key_value_width(), cache.values, samples,
           state_length);

    AttentionOptions options = options_of(own_, samples, x.shape()[0] / samples, cache.keys.shape()[1]);
    options.causal = true;  // hides what the cache does not hold yet
    options.query_offset = state_length;
    return project(tape.constant(cached_attention(tape.stream(), query, cache.keys, cache.values, options)),
                   output_, output_bias_);
}

CrossAttention::CrossAttention(Builder& builder, const std::string& name)
    : own_(builder.config(), builder.sharing()), output_bias_(builder.sharing().bias_of_a_sum()) {
    const ModelConfig& config = builder.config();
    query_ = builder.linear(name + ".query", config.width, config.width, Builder::Share::kOutput);
    key_value_ = builder.packed_linear(name + ".key_value", config.width, 2, config.kv_heads(),
                                       share_of_key_values(own_));
    output_ = builder.projection(name + ".output", config.width, Builder::Share::kInput);
    dropout_ = builder.dropout(config.attention_dropout());
}

Var CrossAttention::operator()(const Var& x, const kernels::RowPlace& place, const EncodedSource& source,
                               const Tensor& lengths, const PassContext& pass) const {
    AttentionOptions seen = options_of(own_, x.shape()[0] / place.positions, place.positions, source.length);
    seen.key_lengths = source.lengths;
    seen.query_lengths = lengths;
    seen.dropout = dropout_.at(pass);
    seen.first_sample = place.first_sample;
    return project(cross_attention(project(x, query_), project(source.states, key_value_), seen), output_,
                   output_bias_);
}

Tensor CrossAttention::keys_and_values(const EncodedSource& source) const {
    return project(source.states, key_value_).value();
}

Var CrossAttention::decode(const Var& x, const Tensor& keys_and_values, const Tensor& source_lengths) const {
    const std::int64_t samples = source_lengths.shape()[0];
    AttentionOptions seen =
        options_of(own_, samples, x.shape()[0] / samples, keys_and_values.shape()[0] / samples);
    seen.key_lengths = source_lengths;
    return project(cross_attention(project(x, query_), x.tape().constant(keys_and_values), seen), output_,
                   output_bias_);
}

}  // namespace skein
