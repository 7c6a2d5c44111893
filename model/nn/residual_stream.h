#pragma once

#include <utility>

#include "model/autograd/ops/layer_norm.h"
#include "model/nn/builder.h"

namespace skein {

/// The activations that a stack of blocks adds to. An addition waits for the norm that follows it, so that
/// both are one pass over the data.
class ResidualStream {
  public:
    ResidualStream(Var x, const kernels::RowPlace& place) : x_(std::move(x)), place_(place) {}

    const kernels::RowPlace& place() const { return place_; }
    /// What the blocks before have left; only right after construction or normalize().
    const Var& value() const { return x_; }
    /// x ← x + dropout(delta).
    void add(Var delta, const kernels::Dropout& dropout) {
        delta_ = std::move(delta);
        dropout_ = dropout;
    }
    /// norm(x); x stays as it is (pre-norm).
    Var norm(const NormWeights& weights) {
        Tape& tape = x_.tape();
        if (!delta_) return layer_norm(x_, weights.gamma_on(tape), weights.beta_on(tape));
        ResidualNorm both =
            add_norm(x_, delta_, dropout_, place_, weights.gamma_on(tape), weights.beta_on(tape));
        x_ = std::move(both.sum);
        delta_ = {};
        return std::move(both.normed);
    }
    /// x ← norm(x) (post-norm).
    void normalize(const NormWeights& weights) { x_ = norm(weights); }
    /// x ← x + dropout(sublayer(norm(x))) with pre-norm, x ← norm(x + dropout(sublayer(x))) with post-norm.
    template <class Sublayer>
    void apply(NormPlace norm_place, const NormWeights& weights, const kernels::Dropout& dropout,
               const Sublayer& sublayer) {
        if (norm_place == NormPlace::kPre) {
            add(sublayer(norm(weights)), dropout);
        } else {
            add(sublayer(value()), dropout);
            normalize(weights);
        }
    }

  private:
    Var x_, delta_;
    kernels::Dropout dropout_;
    kernels::RowPlace place_;
};

}  // namespace skein
