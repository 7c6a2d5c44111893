#include "model/autograd/ops/matmul.h"

#include <vector>

#include "model/kernels/elementwise.h"

namespace skein {

void matmul(Stream& stream, const MatmulOptions& options, const Tensor& a, const Tensor& b, const Tensor& c,
            const Tensor& bias, const Tensor& aux) {
    kernels::GemmArgs args;
    args.transpose_a = options.a_transposed;
    args.transpose_b = options.b_transposed;
    const std::int64_t a_columns = options.a_columns > 0 ? options.a_columns : a.shape()[1];
    args.m = c.shape()[0];
    args.n = options.c_columns > 0 ? options.c_columns : c.shape()[1];
    args.k = options.a_transposed ? a.shape()[0] : a_columns;
    check_shape("matmul", "a", {a.shape()[0], a_columns},
                options.a_transposed ? Shape{args.k, args.m} : Shape{args.m, args.k});
    check_shape("matmul", "b", b.shape(),
                options.b_transposed ? Shape{args.n, args.k} : Shape{args.k, args.n});
    args.a = a.operand();
    args.lda = a.shape()[1];
    args.b = b.operand();
    args.ldb = b.shape()[1];
    args.c = c.operand();
    args.ldc = c.shape()[1];
    args.accumulate = options.accumulate;
    args.epilogue = options.epilogue;
    args.dropout = options.dropout;
    args.place = options.place;
    if (bias) args.bias = bias.data<float>();
    if (aux) {
        args.aux = aux.operand();
        args.ld_aux = args.n;
    }
    if (stream.plans() && stream.device() == Device::cpu) {
        // of all kernels' scratch the only one that is not small beside the operands
        std::vector<BlockRef> scratch;
        for (const std::size_t bytes : kernels::gemm_scratch(args))
            scratch.push_back(stream.pool().allocate(bytes));
    }
    stream.run(work_of(args, options.of), [&](auto& s) { kernels::gemm(s, args); });
}

Tensor as_matrix(const Tensor& tensor) {
    const std::int64_t columns = tensor.shape()[tensor.shape().rank() - 1];
    std::int64_t rows = 1;
    for (int axis = 0; axis + 1 < tensor.shape().rank(); ++axis) rows *= tensor.shape()[axis];
    return tensor.reshape({rows, columns});
}

void matmul_into(Tape& tape, MatmulOptions options, const Tensor& a, const Tensor& b, NodeRef node) {
    const GradientSlot slot = tape.gradient_slot(node);
    options.accumulate = slot.accumulate;
    matmul(tape.stream(), options, a, b, as_matrix(slot.target));
}

void linear_weight_gradients(Tape& tape, const Tensor& dy, const Tensor& x, NodeRef weight, NodeRef bias) {
    // [out, in] (+)= [rows, out]ᵀ · [rows, in]
    if (tape.needs_gradient(weight)) matmul_into(tape, {.a_transposed = true}, dy, x, weight);
    if (tape.needs_gradient(bias)) {
        const GradientSlot slot = tape.gradient_slot(bias);
        const std::int64_t rows = dy.shape()[0], width = dy.shape()[1];
        tape.stream().run(kernels::column_sums_work(rows, width, dy.operand(), slot.accumulate),
                          [&](auto& s) {
                              kernels::column_sums(s, rows, width, dy.operand(), slot.target.data<float>(),
                                                   slot.accumulate);
                          });
    }
}

}  // namespace skein
