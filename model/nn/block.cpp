#include "model/nn/block.h"

#include "model/autograd/ops/recompute.h"

namespace skein {
namespace {

// sublayer(inputs), which backward computes again if it is asked to. The inputs have other uses.
template <class Sublayer>
Var maybe_recomputed(const PassContext& pass, std::vector<Var> inputs, const Sublayer& sublayer) {
    for (Var& input : inputs) input = as_one_use(input);
    if (pass.recompute != Recompute::kAttention) return sublayer(inputs);
    return recompute(inputs[0].tape(), inputs, [sublayer](Tape&, const std::vector<Var>& in) {
        return std::vector<Var>{sublayer(in)};
    })[0];
}

void attend_to_itself(ResidualStream& stream, NormPlace norm_place, const NormWeights& norm,
                      const SelfAttention& attention, const DropoutSite& dropout, const PassContext& pass,
                      const Tensor& lengths) {
    stream.apply(norm_place, norm, dropout.at(pass), [&](const Var& x) {
        return maybe_recomputed(
            pass, {x}, [&attention, place = stream.place(), pass, lengths](const std::vector<Var>& in) {
                return attention(in[0], place, pass, lengths);
            });
    });
}

// A recorded function must not hold a Var of the tape that it is recorded on.
EncodedSource without_states(const EncodedSource& source) {
    return {{}, source.lengths, source.length};
}

}  // namespace

Block::Block(Builder& builder, const std::string& name, bool causal)
    : norm_place_(builder.config().norm),
      attention_norm_(builder.norm(name + ".attention_norm")),
      attention_(builder, name + ".attention", causal),
      attention_dropout_(builder.dropout(builder.config().residual_dropout())),
      feed_forward_norm_(builder.norm(name + ".feed_forward_norm")),
      feed_forward_(builder, name + ".feed_forward"),
      feed_forward_dropout_(builder.dropout(builder.config().residual_dropout())) {}

void Block::operator()(ResidualStream& stream, const PassContext& pass, const Tensor& lengths) const {
    if (pass.recompute != Recompute::kBlock) return run(stream, pass, lengths);
    stream.recomputed(
        {}, [this, pass, lengths](ResidualStream& again, const Var&) { run(again, pass, lengths); });
}

void Block::run(ResidualStream& stream, const PassContext& pass, const Tensor& lengths) const {
    attend_to_itself(stream, norm_place_, attention_norm_, attention_, attention_dropout_, pass, lengths);
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
    if (pass.recompute != Recompute::kBlock) return run(stream, source, lengths, pass);
    stream.recomputed(source.states, [this, pass, lengths, of = without_states(source)](ResidualStream& again,
                                                                                        const Var& states) {
        run(again, {states, of.lengths, of.length}, lengths, pass);
    });
}

void DecoderBlock::run(ResidualStream& stream, const EncodedSource& source, const Tensor& lengths,
                       const PassContext& pass) const {
    attend_to_itself(stream, norm_place_, attention_norm_, attention_, attention_dropout_, pass, lengths);
    stream.apply(norm_place_, cross_attention_norm_, cross_attention_dropout_.at(pass), [&](const Var& x) {
        return maybe_recomputed(
            pass, {x, source.states},
            [this, place = stream.place(), pass, lengths,
             of = without_states(source)](const std::vector<Var>& in) {
                return cross_attention_(in[0], place, {in[1], of.lengths, of.length}, lengths, pass);
            });
    });
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
