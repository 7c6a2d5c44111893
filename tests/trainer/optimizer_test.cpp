#include "trainer/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace skein {
namespace {

double gradient_of(std::size_t parameter, std::int64_t update, std::size_t i) {
    return std::sin(1.0 + 3.0 * static_cast<double>(parameter) + 0.7 * static_cast<double>(update) +
                    0.31 * static_cast<double>(i));
}

class OptimizerTest : public testing::Test {
  protected:
    OptimizerTest() {
        for (const Shape& shape : {Shape{5, 7}, Shape{6}})
            parameters_.add(stream_, 3, "parameter" + std::to_string(parameters_.size()), shape,
                            InitialValues::normal(1.0));
    }
    void set_gradients(std::int64_t update) {
        for (std::size_t p = 0; p < parameters_.size(); ++p) {
            Leaf& leaf = parameters_[p].leaf;
            leaf.gradient = Tensor::zeros(stream_, DType::f32, leaf.value.shape());
            for (std::size_t i = 0; i < leaf.gradient.span<float>().size(); ++i)
                leaf.gradient.span<float>()[i] = static_cast<float>(gradient_of(p, update, i));
        }
    }

    Stream stream_{1};
    ParameterList parameters_;
};

/// Adam in fp64, written as the papers have it: with decay in the gradient (Adam), or beside it (AdamW).
TEST_F(OptimizerTest, FollowsTheFormulasOfAdamAndAdamW) {
    for (const OptimizerKind kind : {OptimizerKind::kAdam, OptimizerKind::kAdamW}) {
        OptimizerSection section;
        section.kind = kind;
        section.weight_decay = 0.3;
        ParameterList& parameters = parameters_;
        std::vector<std::vector<double>> value, m, v;
        for (std::size_t p = 0; p < parameters.size(); ++p) {
            const auto start = parameters[p].leaf.value.span<float>();
            value.emplace_back(start.begin(), start.end());
            m.emplace_back(start.size(), 0.0);
            v.emplace_back(start.size(), 0.0);
        }
        Optimizer optimizer(section, parameters, stream_);
        const double rate = 0.02, scale = 0.5;
        for (std::int64_t update = 1; update <= 6; ++update) {
            set_gradients(update);
            kernels::StepEnd end;
            end.gradient_scale = static_cast<float>(scale);
            end.rate = static_cast<float>(rate);
            end.correction1 = optimizer.correction1(update);
            end.correction2 = optimizer.correction2(update);
            optimizer.step(&end);
            for (std::size_t p = 0; p < value.size(); ++p) {
                const double decay =
                    p == 0 ? section.weight_decay : 0.0;  // the matrix decays, the vector does not
                for (std::size_t i = 0; i < value[p].size(); ++i) {
                    double g = scale * gradient_of(p, update, i);
                    if (kind == OptimizerKind::kAdam) g += decay * value[p][i];
                    m[p][i] = section.beta1 * m[p][i] + (1.0 - section.beta1) * g;
                    v[p][i] = section.beta2 * v[p][i] + (1.0 - section.beta2) * g * g;
                    const double t = static_cast<double>(update);
                    const double m_hat = m[p][i] / (1.0 - std::pow(section.beta1, t));
                    const double v_hat = v[p][i] / (1.0 - std::pow(section.beta2, t));
                    if (kind == OptimizerKind::kAdamW) value[p][i] -= rate * decay * value[p][i];
                    value[p][i] -= rate * m_hat / (std::sqrt(v_hat) + section.epsilon);
                }
            }
        }
        // Each of six updates rounds values near 1 a few times (6e-8 each), and moves them by 0.02 with a
        // relative error of some 1e-6 (1 - beta2 = 0.05 in fp32).
        for (std::size_t p = 0; p < value.size(); ++p)
            for (std::size_t i = 0; i < value[p].size(); ++i)
                EXPECT_NEAR(parameters[p].leaf.value.span<float>()[i], value[p][i], 2e-6) << p << " " << i;
    }
}

TEST_F(OptimizerTest, TheSquaresAreThoseOfAllParameters) {
    Optimizer optimizer({}, parameters_, stream_);
    const auto total = [&] {
        double sum = 0.0;
        std::vector<double> blocks(static_cast<std::size_t>(optimizer.blocks()));
        optimizer.square_sums(blocks.data());
        for (const double block : blocks) sum += block;
        return sum;
    };
    set_gradients(1);
    double squares = 0.0;
    for (std::size_t p = 0; p < parameters_.size(); ++p)
        for (const float g : parameters_[p].leaf.gradient.span<float>())
            squares += static_cast<double>(g) * g;
    EXPECT_DOUBLE_EQ(total(), squares);

    set_gradients(1);  // which lie elsewhere now
    parameters_[1].leaf.gradient.span<float>()[5] = std::numeric_limits<float>::infinity();
    EXPECT_FALSE(std::isfinite(total()));
    parameters_[1].leaf.gradient.span<float>()[5] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(std::isfinite(total()));
}

}  // namespace
}  // namespace skein
