#pragma once

#include <cstdint>
#include <vector>

#include "model/kernels/layer_norm.h"
#include "tests/support/random_values.h"

/// A forward and a backward pass of layer_norm on any stream, for the tests of every device.
namespace skein::test {

struct NormProblem {
    std::int64_t rows, width;
    bool bias, residual, accumulate;
    double dropout;
    float mean = 0.0f;  // of the input
    kernels::Dropout mask() const { return kernels::make_dropout(dropout, {5, 8}); }
};

constexpr kernels::RowPlace kNormPlace{4, 3, 2, 5};  // a slice of rows

/// Gains and biases are fp32 in every dtype.
template <class T>
struct NormInputs {
    std::vector<T> x, delta, dy, old_sum;
    std::vector<float> gamma, beta, old_gamma, old_beta;
};

inline NormInputs<float> norm_inputs(const NormProblem& p) {
    return {.x = random_floats(p.rows * p.width, 1, 1.0f, p.mean),
            .delta = random_floats(p.rows * p.width, 2),
            .dy = random_floats(p.rows * p.width, 5),
            .old_sum = random_floats(p.rows * p.width, 6),
            .gamma = random_floats(p.width, 3, 0.5f, 1.0f),
            .beta = random_floats(p.width, 4),
            .old_gamma = random_floats(p.width, 7),
            .old_beta = random_floats(p.width, 8)};
}

template <class T>
struct NormOutcome {
    std::vector<T> sum, y, dsum;
    std::vector<float> mean, rstd, dgamma, dbeta;
    friend bool operator==(const NormOutcome&, const NormOutcome&) = default;
};

template <class AnyStream, class T>
NormOutcome<T> norm_pass(AnyStream& stream, const NormProblem& p, const NormInputs<T>& in) {
    const std::vector<float> rows(static_cast<std::size_t>(p.rows));
    NormOutcome<T> out{in.x, in.x, in.old_sum, rows, rows, in.old_gamma, in.old_beta};
    kernels::LayerNormArgs args{.rows = p.rows, .width = p.width};
    args.x = in.x.data();
    if (p.residual) {
        args.delta = in.delta.data();
        args.dropout = p.mask();
        args.place = kNormPlace;
        args.sum = out.sum.data();
    }
    args.gamma = in.gamma.data();
    if (p.bias) args.beta = in.beta.data();
    args.y = out.y.data();
    args.mean = out.mean.data();
    args.rstd = out.rstd.data();
    kernels::layer_norm(stream, args);

    kernels::LayerNormBackwardArgs back{.rows = p.rows, .width = p.width};
    back.sum = out.sum.data();
    back.gamma = in.gamma.data();
    back.mean = out.mean.data();
    back.rstd = out.rstd.data();
    back.dy = in.dy.data();
    back.dsum = out.dsum.data();
    back.dgamma = out.dgamma.data();
    if (p.bias) back.dbeta = out.dbeta.data();
    back.accumulate_sum = back.accumulate_gamma = back.accumulate_beta = p.accumulate;
    kernels::layer_norm_backward(stream, back);
    return out;
}

}  // namespace skein::test
