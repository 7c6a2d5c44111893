#pragma once

#include "model/autograd/tape.h"
#include "model/kernels/work.h"

/// What the ops that hold a matrix product share: the kernel call on tensors, and where its gradients go.
namespace skein {

struct MatmulOptions {
    bool a_transposed = false, b_transposed = false;
    bool accumulate = false;
    kernels::Epilogue epilogue = kernels::Epilogue::kNone;
    kernels::Dropout dropout{};
    kernels::RowPlace place{};  ///< of c, for dropout
    /// How many columns of a or c are theirs, where rows are padded; 0: all.
    std::int64_t a_columns = 0, c_columns = 0;
    kernels::ProductOf of = kernels::ProductOf::kLayer;  ///< what its time is counted as
};

/// c = dropout(epilogue(op(a) · op(b) + bias)), or c += op(a) · op(b). a, b, c, aux: matrices; bias: [columns
/// of c] or empty. Dtypes as kernels::GemmArgs has them.
void matmul(Stream& stream, const MatmulOptions& options, const Tensor& a, const Tensor& b, const Tensor& c,
            const Tensor& bias = {}, const Tensor& aux = {});

/// The same elements as a matrix: all axes but the last are its rows.
Tensor as_matrix(const Tensor& tensor);

/// op(a) · op(b) as one contribution to the gradient of `node`.
void matmul_into(Tape& tape, MatmulOptions options, const Tensor& a, const Tensor& b, NodeRef node);

/// The gradients of w and b in y = x · wᵀ + b: dw (+)= dyᵀ · x and db (+)= column sums of dy, where they are
/// wanted.
void linear_weight_gradients(Tape& tape, const Tensor& dy, const Tensor& x, NodeRef weight, NodeRef bias);

}  // namespace skein
