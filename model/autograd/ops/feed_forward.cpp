#include "model/autograd/ops/feed_forward.h"

#include "model/autograd/ops/matmul.h"

namespace skein {

Var feed_forward(const Var& x, const FeedForwardWeights& weights, Activation activation,
                 const kernels::Dropout& dropout, const kernels::RowPlace& place, BiasUse use_b2) {
    Tape& tape = x.tape();
    Stream& stream = tape.stream();
    const std::int64_t rows = x.shape()[0], width = weights.w1.shape()[1], hidden = weights.w1.shape()[0];
    check_shape("feed_forward", "x", x.shape(), {rows, width});
    check_shape("feed_forward", "w2", weights.w2.shape(), {width, hidden});
    const bool gelu = activation == Activation::kGelu;

    // a = dropout(activation(x · w1ᵀ + b1)); GELU's backward needs its input, ReLU's only its output's sign
    const DType dtype = x.value().dtype();
    Tensor a = Tensor::empty(stream, dtype, {rows, hidden});
    Tensor before = gelu ? Tensor::empty(stream, dtype, {rows, hidden}) : Tensor{};
    matmul(stream,
           {.b_transposed = true,
            .epilogue = gelu ? kernels::Epilogue::kGelu : kernels::Epilogue::kRelu,
            .dropout = dropout,
            .place = place},
           x.value(), weights.w1.value(), a, weights.b1 ? weights.b1.value() : Tensor{}, before);
    tape.inexact(a, Tape::Inexact::kResult);
    Tensor y = Tensor::empty(stream, dtype, {rows, width});
    matmul(stream, {.b_transposed = true}, a, weights.w2.value(), y,
           weights.b2 && use_b2 == BiasUse::kAdd ? weights.b2.value() : Tensor{});

    return tape.record(
        y, {x, weights.w1, weights.b1, weights.w2, weights.b2},
        [x_node = NodeRef(x), w1_node = NodeRef(weights.w1), b1_node = NodeRef(weights.b1),
         w2_node = NodeRef(weights.w2), b2_node = NodeRef(weights.b2), x = x.value(), w1 = weights.w1.value(),
         w2 = weights.w2.value(), a, before, gelu, dropout, place](Tape& t, const Tensor& dy) {
            linear_weight_gradients(t, dy, a, w2_node, b2_node);
            // dz = mask · (dy · w2) · activation'(z): the mask commutes with the derivative
            Tensor dz = Tensor::empty(t.stream(), a.dtype(), a.shape());
            matmul(t.stream(),
                   {.epilogue = gelu ? kernels::Epilogue::kGeluBackward : kernels::Epilogue::kReluBackward,
                    .dropout = dropout,
                    .place = place},
                   dy, w2, dz, {}, gelu ? before : a);
            t.inexact(dz, Tape::Inexact::kGradient);
            linear_weight_gradients(t, dz, x, w1_node, b1_node);
            if (t.needs_gradient(x_node)) matmul_into(t, {}, dz, w1, x_node);
        });
}

}  // namespace skein
