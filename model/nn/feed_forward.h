#pragma once

#include <string>

#include "model/autograd/ops/feed_forward.h"
#include "model/nn/builder.h"

namespace skein {

/// The feed-forward sublayer with its weights: width to ff and back, position by position.
class FeedForward {
  public:
    FeedForward(Builder& builder, const std::string& name)
        : activation_(builder.config().activation == ActivationKind::kGelu ? Activation::kGelu
                                                                           : Activation::kRelu),
          in_(builder.linear(name + ".in", builder.config().width, builder.config().ff(),
                             Builder::Into::kHidden)),
          out_(builder.linear(name + ".out", builder.config().ff(), builder.config().width,
                              Builder::Into::kResidual)),
          dropout_(builder.dropout(builder.config().feed_forward_dropout())) {}

    /// x and the result: [rows, width].
    Var operator()(const Var& x, const kernels::RowPlace& place, const PassContext& pass) const {
        Tape& tape = x.tape();
        return feed_forward(
            x, {in_.weight_on(tape), in_.bias_on(tape), out_.weight_on(tape), out_.bias_on(tape)},
            activation_, dropout_.at(pass), place);
    }

  private:
    Activation activation_;
    LinearWeights in_, out_;
    DropoutSite dropout_;
};

}  // namespace skein
