#pragma once

#include <string>

#include "model/autograd/ops/feed_forward.h"
#include "model/nn/builder.h"

namespace skein {

/// The feed-forward sublayer with its weights: width to ff and back, position by position. Where a group
/// shares ff out, a rank computes its slice of it, and the result is its part of a sum.
class FeedForward {
  public:
    FeedForward(Builder& builder, const std::string& name)
        : activation_(builder.config().activation == ActivationKind::kGelu ? Activation::kGelu
                                                                           : Activation::kRelu),
          first_channel_(builder.sharing().slice_in_eights(builder.config().ff()).first),
          output_bias_(builder.sharing().bias_of_a_sum()),
          in_(builder.linear(name + ".in", builder.config().width, builder.config().ff(),
                             Builder::Share::kOutputInEights)),
          out_(builder.projection(name + ".out", builder.config().ff(), Builder::Share::kInputInEights)),
          dropout_(builder.dropout(builder.config().feed_forward_dropout())) {}

    /// x and the result: [rows, width].
    Var operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass) const {
        Tape& tape = x.tape();
        kernels::RowPlace hidden = place;
        hidden.first_channel = first_channel_;
        return feed_forward(
            x, {in_.weight_on(tape), in_.bias_on(tape), out_.weight_on(tape), out_.bias_on(tape)},
            activation_, dropout_.at(pass), hidden, output_bias_);
    }

  private:
    Activation activation_;
    std::int64_t first_channel_;  // of the hidden ones that this rank has
    BiasUse output_bias_;
    LinearWeights in_, out_;
    DropoutSite dropout_;
};

}  // namespace skein
