#include "model/nn/block.h"

namespace skein {

Block::Block(Builder& builder, const std::string& name, bool causal)
    : norm_place_(builder.config().norm),
      activation_(builder.config().activation == ActivationKind::kGelu ? Activation::kGelu : Activation::kRelu),
      attention_norm_(builder.norm(name + ".attention_norm")),
      attention_(builder, name + ".attention", causal),
      attention_dropout_(builder.dropout(builder.config().residual_dropout())),
      feed_forward_norm_(builder.norm(name + ".feed_forward_norm")),
      feed_in_(builder.linear(name + ".feed_forward.in", builder.config().width, builder.config().ff(),
                              Builder::Into::kHidden)),
      feed_out_(builder.linear(name + ".feed_forward.out", builder.config().ff(), builder.config().width,
                               Builder::Into::kResidual)),
      hidden_dropout_(builder.dropout(builder.config().feed_forward_dropout())),
      feed_dropout_(builder.dropout(builder.config().residual_dropout())) {}

template <class Sublayer>
void Block::apply(ResidualStream& stream, const NormWeights& norm, const kernels::Dropout& dropout,
                  const Sublayer& sublayer) const {
    if (norm_place_ == NormPlace::kPre) {
        stream.add(sublayer(stream.norm(norm)), dropout);
    } else {
        stream.add(sublayer(stream.value()), dropout);
        stream.normalize(norm);
    }
}

Var Block::feed(const Var& x, const kernels::RowPlace& place, const PassContext& pass) const {
    Tape& tape = x.tape();
    return feed_forward(
        x, {feed_in_.weight_on(tape), feed_in_.bias_on(tape), feed_out_.weight_on(tape), feed_out_.bias_on(tape)},
        activation_, hidden_dropout_.at(pass), place);
}

void Block::operator()(ResidualStream& stream, const PassContext& pass) const {
    apply(stream, attention_norm_, attention_dropout_.at(pass),
          [&](const Var& x) { return attention_(x, stream.place(), pass); });
    apply(stream, feed_forward_norm_, feed_dropout_.at(pass),
          [&](const Var& x) { return feed(x, stream.place(), pass); });
}

void Block::decode(ResidualStream& stream, KeyValueCache& cache, std::int64_t state_length,
                   std::int64_t samples) const {
    apply(stream, attention_norm_, {},
          [&](const Var& x) { return attention_.decode(x, cache, state_length, samples); });
    apply(stream, feed_forward_norm_, {}, [&](const Var& x) { return feed(x, stream.place(), {}); });
}

}  // namespace skein
