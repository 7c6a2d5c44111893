#include "model/nn/block.h"

namespace skein {

Block::Block(Builder& builder, const std::string& name, bool causal)
    : norm_place_(builder.config().norm),
      attention_norm_(builder.norm(name + ".attention_norm")),
      attention_(builder, name + ".attention", causal),
      attention_dropout_(builder.dropout(builder.config().residual_dropout())),
      feed_forward_norm_(builder.norm(name + ".feed_forward_norm")),
      feed_forward_(builder, name + ".feed_forward"),
      feed_forward_dropout_(builder.dropout(builder.config().residual_dropout())) {}

void Block::operator()(ResidualStream& stream, const PassContext& pass, const Tensor& lengths) const {
    stream.apply(norm_place_, attention_norm_, attention_dropout_.at(pass),
                 [&](const Var& x) { return attention_(x, stream.place(), pass, lengths); });
    stream.apply(norm_place_, feed_forward_norm_, feed_forward_dropout_.at(pass),
                 [&](const Var& x) { return feed_forward_(x, stream.place(), pass); });
}

void Block::decode(ResidualStream& stream, KeyValueCache& cache, std::int64_t state_length,
                   std::int64_t samples) const {
    stream.apply(norm_place_, attention_norm_, {},
                 [&](const Var& x) { return attention_.decode(x, cache, state_length, samples); });
    stream.apply(norm_place_, feed_forward_norm_, {},
                 [&](const Var& x) { return feed_forward_(x, stream.place(), {}); });
}

DecoderBlock::DecoderBlock(Builder& builder, const std::string& name)
    : norm_place_(builder.config().norm),
      attention_norm_(builder.norm(name + ".attention_norm")),
      attention_(builder, name + ".attention", true),
      attention_dropout_(builder.dropout(builder.config().residual_dropout())),
      cross_attention_norm_(builder.norm(name + ".cross_attention_norm")),
      cross_attention_(builder, name + ".cross_attention"),
      cross_attention_dropout_(builder.dropout(builder.config().residual_dropout())),
      feed_forward_norm_(builder.norm(name + ".feed_forward_norm")),
      feed_forward_(builder, name + ".feed_forward"),
      feed_forward_dropout_(builder.dropout(builder.config().residual_dropout())) {}

void DecoderBlock::operator()(ResidualStream& stream, const EncodedSource& source, const Tensor& lengths,
                              const PassContext& pass) const {
    stream.apply(norm_place_, attention_norm_, attention_dropout_.at(pass),
                 [&](const Var& x) { return attention_(x, stream.place(), pass, lengths); });
    stream.apply(norm_place_, cross_attention_norm_, cross_attention_dropout_.at(pass),
                 [&](const Var& x) { return cross_attention_(x, stream.place(), source, lengths, pass); });
    stream.apply(norm_place_, feed_forward_norm_, feed_forward_dropout_.at(pass),
                 [&](const Var& x) { return feed_forward_(x, stream.place(), pass); });
}

void DecoderBlock::decode(ResidualStream& stream, Cache& cache, std::int64_t state_length,
                          const Tensor& source_lengths) const {
    stream.apply(norm_place_, attention_norm_, {},
                 [&](const Var& x) { return attention_.decode(x, cache.own, state_length, x.shape()[0]); });
    stream.apply(norm_place_, cross_attention_norm_, {},
                 [&](const Var& x) { return cross_attention_.decode(x, cache.source, source_lengths); });
    stream.apply(norm_place_, feed_forward_norm_, {},
                 [&](const Var& x) { return feed_forward_(x, stream.place(), {}); });
}

}  // namespace skein
