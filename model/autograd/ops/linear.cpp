#include "model/autograd/ops/linear.h"

#include "model/autograd/ops/matmul.h"

namespace skein {

Var linear(const Var& x, const Var& weight, const Var& bias, BiasUse use) {
    Tape& tape = x.tape();
    const Tensor w = as_matrix(weight.value());
    const std::int64_t rows = x.shape()[0], in = w.shape()[1], out = w.shape()[0];
    check_shape("linear", "x", x.shape(), {rows, in});
    if (bias) check_shape("linear", "bias", {bias.value().elements()}, {out});

    // [rows, out] = [rows, in] · [out, in]ᵀ
    Tensor y = Tensor::empty(tape.stream(), x.value().dtype(), {rows, out});
    matmul(tape.stream(), {.b_transposed = true}, x.value(), w, y,
           bias && use == BiasUse::kAdd ? bias.value() : Tensor{});

    return tape.record(y, {x, weight, bias},
                       [x_node = NodeRef(x), w_node = NodeRef(weight), b_node = NodeRef(bias), x = x.value(),
                        w](Tape& t, const Tensor& dy) {
                           linear_weight_gradients(t, dy, x, w_node, b_node);
                           // [rows, in] = [rows, out] · [out, in]
                           if (t.needs_gradient(x_node)) matmul_into(t, {}, dy, w, x_node);
                       });
}

}  // namespace skein
