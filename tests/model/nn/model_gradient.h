#pragma once

#include <cmath>
#include <string>

#include "model/nn/parameter.h"
#include "tests/model/nn/small_model.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_model.h"

namespace skein::test {

inline fp64::Parameters parameters_of(Stream& stream, const ParameterList& parameters) {
    fp64::Parameters out;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto values = floats_of(stream, parameters[i].leaf.value);
        out[parameters[i].name].assign(values.begin(), values.end());
    }
    return out;
}

// A Case has a name, a config, a context, options and `inputs`; `Case::Small`, the model that takes them; and
// `reference(parameters, want_gradients)`, what the fp64 model makes of the same.

/// Adds, by `add(name, change)`, a Case with dropout in one place.
template <class Add>
void add_dropout(const Add& add, const std::string& place, double ModelConfig::*site) {
    add("dropout of " + place, [&](auto& c) {
        c.config.*site = 0.3;
        c.context = {.seed = 99, .step = 12, .first_sample = 5, .training = true};
    });
}

/// One Case for each place that dropout has.
template <class Add>
void add_dropout_in_each_place(const Add& add) {
    add_dropout(add, "embeddings", &ModelConfig::dropout_embedding);
    add_dropout(add, "sublayers", &ModelConfig::dropout_residual);
    add_dropout(add, "attention", &ModelConfig::dropout_attention);
    add_dropout(add, "the feed-forward", &ModelConfig::dropout_feed_forward);
}

/// Loss and every gradient agree with fp64. The models make some twenty fp32 roundings on a value's way
/// through, on sums of up to 40 terms: 1e-5 of a tensor's typical gradient is some 100 ulp; 3e-6 was the
/// largest seen.
template <class Case>
void expect_matches_reference(const Case& c) {
    SCOPED_TRACE(c.name);
    typename Case::Small small(c.config);
    const fp64::ModelResult wanted = c.reference(parameters_of(small.stream, small.model.parameters()), true);
    for (const double passes : {1.0, 2.0}) {  // written over first, then added to
        const auto found = small.forward_backward(c.inputs, c.context, c.options);
        ASSERT_EQ(found.loss.size(), wanted.loss.size());
        for (std::int64_t sample = 0; sample < count(wanted.loss); ++sample) {
            EXPECT_NEAR(at(found.loss, sample), at(wanted.loss, sample), 2e-6 * at(wanted.loss, sample));
            EXPECT_NEAR(at(found.nll, sample), at(wanted.nll, sample), 2e-6 * at(wanted.nll, sample));
            EXPECT_EQ(at(found.correct, sample), at(wanted.correct, sample));
        }
        const NamedGradients gradients = small.gradients();
        ASSERT_EQ(gradients.size(), wanted.gradients.size());
        for (const auto& [name, gradient] : gradients) {
            std::vector<double> reference = wanted.gradients.at(name);
            for (double& value : reference) value *= passes;
            expect_close(gradient, reference, 1e-5, name);
        }
    }
}

/// Along a random direction in each parameter, the reference's gradient is the central difference. In fp64
/// with a step of 1e-5 that is good to about 1e-9 of the loss; ReLU's kink is the reason for the rest.
template <class Case>
void expect_reference_matches_finite_differences(const Case& c) {
    SCOPED_TRACE(c.name);
    typename Case::Small small(c.config);
    const fp64::Parameters parameters = parameters_of(small.stream, small.model.parameters());
    const fp64::ModelResult result = c.reference(parameters, true);
    for (const auto& [name, values] : parameters) {
        const std::vector<float> direction = random_floats(count(values), 77);
        double slope = 0.0;
        for (std::int64_t i = 0; i < count(values); ++i)
            slope += at(result.gradients.at(name), i) * static_cast<double>(at(direction, i));
        const auto loss_at = [&](double step) {
            fp64::Parameters moved = parameters;
            for (std::int64_t i = 0; i < count(values); ++i)
                at(moved[name], i) += step * static_cast<double>(at(direction, i));
            return c.reference(moved, false).total;
        };
        EXPECT_NEAR(slope, (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-6 * std::max(1.0, std::abs(slope)))
            << name;
    }
}

}  // namespace skein::test
