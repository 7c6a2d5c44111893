#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "model/autograd/tape.h"
#include "tests/support/random_values.h"
#include "tests/support/scalar_graph.h"
#include "tests/support/test_device.h"

namespace skein::test {

/// One input of an op under test, drawn at random.
struct Input {
    Shape shape;
    std::vector<float> values;

    Input(const Shape& input_shape, std::uint32_t seed, float deviation = 1.0f, float mean = 0.0f)
        : shape(input_shape), values(random_floats(input_shape.elements(), seed, deviation, mean)) {}
};

using TapeOp = std::function<Var(Tape&, const std::vector<Var>&)>;
using ReferenceOp = std::function<fp64::Matrix(const std::vector<fp64::Matrix>&)>;

/// The inputs as matrices of variables of `graph`: rank 1 is one row, and of a higher rank the leading axes
/// are rows.
inline std::vector<fp64::Matrix> reference_inputs(fp64::Graph& graph, const std::vector<Input>& inputs) {
    std::vector<fp64::Matrix> matrices;
    for (const Input& input : inputs) {
        const std::int64_t columns = input.shape[-1];
        fp64::Matrix matrix(input.shape.elements() / columns, columns);
        for (std::size_t i = 0; i < input.values.size(); ++i)
            matrix.values[i] = graph.variable(static_cast<double>(input.values[i]));
        matrices.push_back(std::move(matrix));
    }
    return matrices;
}

/// Σ coefficients_i · y_i.
inline fp64::Scalar weighted(const fp64::Matrix& y, const std::vector<float>& coefficients) {
    std::vector<fp64::Scalar> constants(coefficients.begin(), coefficients.end());
    return fp64::dot(y.values, constants);
}

/// Root mean square, at least a little: what errors are measured against.
inline double magnitude(const std::vector<double>& values) {
    double squares = 1e-12;
    for (const double value : values) squares += value * value;
    return std::sqrt(squares / static_cast<double>(std::max<std::size_t>(1, values.size())));
}

/// Each value within `tolerance` of the wanted one, relative to it or to the root mean square of all,
/// whichever is larger.
inline void expect_close(const std::vector<float>& found, const std::vector<double>& wanted, double tolerance,
                         const std::string& what) {
    ASSERT_EQ(found.size(), wanted.size()) << what;
    const double typical = magnitude(wanted);
    for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(static_cast<double>(found[i]), wanted[i],
                    tolerance * std::max(typical, std::abs(wanted[i])))
            << what << ", element " << i;
}

/// Checks an op in three steps. The gradient of the fp64 reference is that of finite differences (central, in
/// fp64: 1e-6 is far above their error of about 1e-9). The op's value is the reference's value. The gradient
/// that the tape gives for Σ c_i y_i with random c is the reference's, once written over and once added to
/// what was there. The tolerance is for fp32: about 60 ulp, for sums of up to some hundred terms.
inline void check_gradients(const TapeOp& op, const ReferenceOp& reference, std::vector<Input> inputs,
                            double tolerance = 1e-5, int threads = 1) {
    fp64::Graph graph;
    const std::vector<fp64::Matrix> variables = reference_inputs(graph, inputs);
    const fp64::Matrix wanted = reference(variables);
    const std::vector<float> coefficients = random_floats(count(wanted.values), 4711);
    graph.backward(weighted(wanted, coefficients));

    for (std::size_t n = 0; n < inputs.size(); ++n)
        for (std::size_t i = 0; i < inputs[n].values.size(); ++i) {
            const auto shifted = [&](double step) {
                std::vector<fp64::Matrix> matrices = variables;
                for (fp64::Matrix& matrix : matrices)
                    for (fp64::Scalar& scalar : matrix.values)
                        scalar = scalar.value();  // constants: nothing recorded
                matrices[n].values[i] = matrices[n].values[i].value() + step;
                return weighted(reference(matrices), coefficients).value();
            };
            const double step = 1e-5, difference = (shifted(step) - shifted(-step)) / (2.0 * step);
            const double gradient = graph.gradient(variables[n].values[i]);
            ASSERT_NEAR(gradient, difference, 1e-6 * std::max(1.0, std::abs(gradient)))
                << "finite differences of the reference, input " << n << ", element " << i;
        }

    Stream stream(test_gpu(), threads);
    std::vector<Leaf> leaves(inputs.size());
    for (std::size_t n = 0; n < inputs.size(); ++n) {
        leaves[n].value = Tensor::from<float>(stream, inputs[n].shape, inputs[n].values);
        leaves[n].gradient = filled(stream, inputs[n].shape, 1e30f);  // stale: must be written over
    }
    for (const double times : {1.0, 2.0}) {
        Tape tape(stream);
        std::vector<Var> vars;
        for (Leaf& leaf : leaves) vars.push_back(tape.leaf(leaf));
        const Var y = op(tape, vars);
        std::vector<double> values;
        for (const fp64::Scalar& scalar : wanted.values) values.push_back(scalar.value());
        expect_close(floats_of(stream, y.value()), values, tolerance, "value");
        tape.backward(y, Tensor::from<float>(stream, y.shape(), coefficients));
        for (std::size_t n = 0; n < inputs.size(); ++n) {
            std::vector<double> gradient;
            for (const fp64::Scalar& scalar : variables[n].values)
                gradient.push_back(times * graph.gradient(scalar));
            expect_close(floats_of(stream, leaves[n].gradient), gradient, tolerance,
                         "gradient of input " + std::to_string(n));
            EXPECT_EQ(leaves[n].pending_uses, 0);
        }
    }
}

}  // namespace skein::test
