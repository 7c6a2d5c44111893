#include "model/autograd/ops/layer_norm.h"

#include "model/kernels/layer_norm.h"
#include "model/kernels/work.h"

namespace skein {
namespace {

// What the norm of `sum` saves, and its backward: the same with and without a residual before it.
struct Saved {
    Tensor mean, rstd;
};

Saved forward(Tape& tape, kernels::LayerNormArgs& args, const Var& gamma, const Var& beta, const Tensor& y) {
    Stream& stream = tape.stream();
    Saved saved{Tensor::empty(stream, DType::f32, {args.rows}),
                Tensor::empty(stream, DType::f32, {args.rows})};
    args.gamma = gamma.value().data<float>();
    args.beta = beta ? beta.value().data<float>() : nullptr;
    args.y = y.operand();
    args.mean = saved.mean.data<float>();
    args.rstd = saved.rstd.data<float>();
    stream.run(work_of(args), [&](auto& s) { kernels::layer_norm(s, args); });
    tape.inexact(y, Tape::Inexact::kResult);
    tape.inexact(saved.mean, Tape::Inexact::kMean);
    tape.inexact(saved.rstd, Tape::Inexact::kScale);
    return saved;
}

Var record_norm(const Var& sum, const Var& gamma, const Var& beta, const Saved& saved, const Tensor& y) {
    return sum.tape().record(
        y, {sum, gamma, beta},
        [sum_node = NodeRef(sum), gamma_node = NodeRef(gamma), beta_node = NodeRef(beta), sum = sum.value(),
         gamma = gamma.value(), saved](Tape& t, const Tensor& dy) {
            const std::int64_t rows = sum.shape()[0], width = sum.shape()[1];
            const GradientSlot dsum = t.gradient_slot(sum_node), dgamma = t.gradient_slot(gamma_node);
            kernels::LayerNormBackwardArgs args{.rows = rows, .width = width};
            args.sum = sum.operand();
            args.gamma = gamma.data<float>();
            args.mean = saved.mean.data<float>();
            args.rstd = saved.rstd.data<float>();
            args.dy = dy.operand();
            args.dsum = dsum.target.operand();
            args.accumulate_sum = dsum.accumulate;
            args.dgamma = dgamma.target.data<float>();
            args.accumulate_gamma = dgamma.accumulate;
            if (t.needs_gradient(beta_node)) {
                const GradientSlot dbeta = t.gradient_slot(beta_node);
                args.dbeta = dbeta.target.data<float>();
                args.accumulate_beta = dbeta.accumulate;
            }
            t.stream().run(work_of(args), [&](auto& s) { kernels::layer_norm_backward(s, args); });
            t.inexact(dsum.target, Tape::Inexact::kGradient);
        });
}

void check(const char* op, const Var& x, const Var& gamma, const Var& beta) {
    const std::int64_t width = gamma.shape()[0];
    check_shape(op, "x", x.shape(), {x.shape()[0], width});
    if (beta) check_shape(op, "beta", beta.shape(), {width});
}

}  // namespace

Var layer_norm(const Var& x, const Var& gamma, const Var& beta, float epsilon) {
    check("layer_norm", x, gamma, beta);
    Tape& tape = x.tape();
    const Tensor y = Tensor::empty(tape.stream(), x.value().dtype(), x.shape());
    kernels::LayerNormArgs args{.rows = x.shape()[0], .width = x.shape()[1]};
    args.x = x.value().operand();
    args.epsilon = epsilon;
    const Saved saved = forward(tape, args, gamma, beta, y);
    return record_norm(x, gamma, beta, saved, y);
}

ResidualNorm add_norm(const Var& x, const Var& delta, const kernels::Dropout& dropout,
                      const kernels::RowPlace& place, const Var& gamma, const Var& beta, float epsilon) {
    check("add_norm", x, gamma, beta);
    check_shape("add_norm", "delta", delta.shape(), x.shape());
    Tape& tape = x.tape();
    const Tensor total = Tensor::empty(tape.stream(), x.value().dtype(), x.shape());
    const Tensor y = Tensor::empty(tape.stream(), x.value().dtype(), x.shape());
    kernels::LayerNormArgs args{.rows = x.shape()[0], .width = x.shape()[1]};
    args.x = x.value().operand();
    args.delta = delta.value().operand();
    args.dropout = dropout;
    args.place = place;
    args.sum = total.operand();
    args.epsilon = epsilon;
    const Saved saved = forward(tape, args, gamma, beta, y);

    const Var sum = tape.record(
        total, {x, delta},
        [x_node = NodeRef(x), delta_node = NodeRef(delta), dropout, place](Tape& t, const Tensor& dsum) {
            if (t.needs_gradient(delta_node)) {
                if (dropout) {
                    const GradientSlot slot = t.gradient_slot(delta_node);
                    const std::int64_t rows = dsum.shape()[0], width = dsum.shape()[1];
                    t.stream().run(kernels::dropout_work(rows, width, dsum.operand(), slot.target.operand(),
                                                         slot.accumulate),
                                   [&](auto& s) {
                                       kernels::apply_dropout(s, dropout, place, rows, width, dsum.operand(),
                                                              slot.target.operand(), slot.accumulate);
                                   });
                } else {
                    t.pass_gradient(delta_node, dsum);
                }
            }
            if (t.needs_gradient(x_node)) t.pass_gradient(x_node, dsum);
        });
    return {sum, record_norm(sum, gamma, beta, saved, y)};
}

}  // namespace skein
