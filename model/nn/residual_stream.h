#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "model/autograd/ops/layer_norm.h"
#include "model/autograd/ops/recompute.h"
#include "model/nn/builder.h"

namespace skein {

/// The activations that a stack of blocks adds to. An addition waits for the norm that follows it, so that
/// both are one pass over the data. With sequence parallelism they are this rank's slice of the rows.
class ResidualStream {
  public:
    /// `place` is that of all rows, of which there are `rows`.
    ResidualStream(Var x, const kernels::RowPlace& place, std::int64_t rows, const TensorSharing& sharing)
        : x_(std::move(x)), place_(place), own_place_(place), rows_(rows), sharing_(sharing) {
        own_place_.first_row = sharing.own_rows(x_.tape(), rows).first;
    }

    /// Of all rows, as a sublayer has them.
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
            add_norm(x_, delta_, dropout_, own_place_, weights.gamma_on(tape), weights.beta_on(tape));
        x_ = std::move(both.sum);
        delta_ = {};
        return std::move(both.normed);
    }
    /// x ← norm(x) (post-norm).
    void normalize(const NormWeights& weights) { x_ = norm(weights); }
    /// The end of a stack: norm(x), or x where there is none, with all rows, for what comes behind it.
    Var finished(const NormWeights& weights) {
        return sharing_.enter(weights.gamma ? norm(weights) : value(), rows_);
    }
    /// x ← x + dropout(sublayer(norm(x))) with pre-norm, x ← norm(x + dropout(sublayer(x))) with post-norm.
    /// The sublayer takes all rows, and gives this rank's part of a sum.
    template <class Sublayer>
    void apply(NormPlace norm_place, const NormWeights& weights, const kernels::Dropout& dropout,
               const Sublayer& sublayer) {
        const bool pre_norm = norm_place == NormPlace::kPre;
        const Var all_rows = sharing_.enter(pre_norm ? norm(weights) : value(), rows_);
        add(sharing_.leave(sublayer(all_rows)), dropout);
        if (!pre_norm) normalize(weights);
    }

    /// Lets `layers`, which holds what it needs, add to the stream; backward computes all of it again.
    /// `also`: another Var that they read; may be empty. layers(stream, also).
    template <class Layers>
    void recomputed(const Var& also, const Layers& layers) {
        std::vector<Var> inputs{x_};
        const bool has_delta = static_cast<bool>(delta_), has_also = static_cast<bool>(also);
        if (has_delta) inputs.push_back(delta_);
        if (has_also) inputs.push_back(also);
        const auto last_dropout = std::make_shared<kernels::Dropout>();
        const std::vector<Var> outputs =
            recompute(x_.tape(), inputs,
                      [layers, last_dropout, has_delta, has_also, dropout = dropout_, place = place_,
                       rows = rows_, sharing = sharing_](Tape&, const std::vector<Var>& in) {
                          ResidualStream stream(in[0], place, rows, sharing);
                          if (has_delta) stream.add(in[1], dropout);
                          layers(stream, has_also ? in.back() : Var{});
                          *last_dropout = stream.dropout_;
                          return stream.delta_ ? std::vector<Var>{stream.x_, stream.delta_}
                                               : std::vector<Var>{stream.x_};
                      });
        x_ = outputs[0];
        delta_ = outputs.size() > 1 ? outputs[1] : Var{};
        dropout_ = *last_dropout;
    }

  private:
    Var x_, delta_;
    kernels::Dropout dropout_;
    kernels::RowPlace place_, own_place_;
    std::int64_t rows_;
    TensorSharing sharing_;
};

}  // namespace skein
