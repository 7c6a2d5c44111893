#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/kernels/attention.h"

/// Attention in fp64 with whole score matrices, as plainly as it can be written: what the kernels are tested
/// against.
namespace skein::kernels::reference {

using Values = std::vector<double>;

/// Everything that attention reads, as AttentionArgs describes it, in fp64 and without strides.
struct Problem {
    std::int64_t batch = 1, query_length = 1, key_length = 1, heads = 1, key_value_heads = 1, head_width = 1;
    double scale = 1.0;
    Values query, key, value;  // [batch, length, heads, head_width]
    bool causal = false;
    std::int64_t query_offset = 0, first_sample = 0, first_head = 0;
    std::vector<std::int32_t> key_lengths, query_lengths;  // empty: none
    Values bias;                                           // empty: none
    Values rotary_cos, rotary_sin;                         // empty: none
    Dropout dropout;

    std::int64_t kv_head(std::int64_t head) const { return head / (heads / key_value_heads); }
    bool sees(std::int64_t b, std::int64_t i, std::int64_t j) const {
        if (!key_lengths.empty() && j >= key_lengths[static_cast<std::size_t>(b)]) return false;
        if (!query_lengths.empty() && i >= query_lengths[static_cast<std::size_t>(b)]) return false;
        return !causal || j <= i + query_offset;
    }
    double factor(std::int64_t b, std::int64_t i, std::int64_t j, std::int64_t h) const {
        const bool kept = keeps(dropout, static_cast<std::uint32_t>(first_sample + b),
                                static_cast<std::uint32_t>(i + query_offset), static_cast<std::uint32_t>(j),
                                static_cast<std::uint32_t>(first_head + h));
        return kept ? static_cast<double>(dropout.scale) : 0.0;
    }
};

struct Gradients {
    Values query, key, value, bias;
};

struct Result {
    Values output, log_sum_exp;
    Gradients gradients;
};

inline double& at(Values& values, std::int64_t index) {
    return values[static_cast<std::size_t>(index)];
}
inline double at(const Values& values, std::int64_t index) {
    return values[static_cast<std::size_t>(index)];
}

/// One row turned by the angles of its position, back if `sign` is -1.
inline Values turned(const Problem& problem, const Values& row, std::int64_t position, double sign) {
    Values out = row;
    if (problem.rotary_cos.empty()) return out;
    for (std::int64_t c = 0; c < problem.head_width / 2; ++c) {
        const double cosine = at(problem.rotary_cos, position * (problem.head_width / 2) + c);
        const double sine = sign * at(problem.rotary_sin, position * (problem.head_width / 2) + c);
        at(out, 2 * c) = at(row, 2 * c) * cosine - at(row, 2 * c + 1) * sine;
        at(out, 2 * c + 1) = at(row, 2 * c) * sine + at(row, 2 * c + 1) * cosine;
    }
    return out;
}

inline double dot(const Values& a, const Values& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

/// Output, log-sum-exp and, for the gradient of the output, the gradients of the inputs.
inline Result attention(const Problem& p, const Values& output_gradient) {
    Result result;
    result.output.assign(p.query.size(), 0.0);
    result.log_sum_exp.assign(static_cast<std::size_t>(p.batch * p.heads * p.query_length), 0.0);
    Gradients& gradients = result.gradients;
    gradients.query.assign(p.query.size(), 0.0);
    gradients.key.assign(p.key.size(), 0.0);
    gradients.value.assign(p.value.size(), 0.0);
    gradients.bias.assign(static_cast<std::size_t>(p.heads * p.query_length * p.key_length), 0.0);

    const std::int64_t width = p.head_width;
    const auto row_of = [&](const Values& values, std::int64_t start) {
        return Values(values.begin() + start, values.begin() + start + width);
    };
    for (std::int64_t b = 0; b < p.batch; ++b)
        for (std::int64_t h = 0; h < p.heads; ++h)
            for (std::int64_t i = 0; i < p.query_length; ++i) {
                const std::int64_t query_at = ((b * p.query_length + i) * p.heads + h) * width;
                const auto key_at = [&](std::int64_t j) {
                    return ((b * p.key_length + j) * p.key_value_heads + p.kv_head(h)) * width;
                };
                const std::int64_t bias_at = (h * p.query_length + i) * p.key_length;
                const Values out_gradient = row_of(output_gradient, query_at);
                Values scores(static_cast<std::size_t>(p.key_length),
                              -std::numeric_limits<double>::infinity());
                double largest = -std::numeric_limits<double>::infinity(), sum = 0;
                bool any = false;
                for (std::int64_t j = 0; j < p.key_length; ++j) any = any || p.sees(b, i, j);
                const Values query = any ? turned(p, row_of(p.query, query_at), i + p.query_offset, 1)
                                         : Values(row_of(p.query, query_at));
                for (std::int64_t j = 0; j < p.key_length; ++j)
                    if (p.sees(b, i, j)) {
                        at(scores, j) = p.scale * dot(query, turned(p, row_of(p.key, key_at(j)), j, 1));
                        if (!p.bias.empty()) at(scores, j) += at(p.bias, bias_at + j);
                        largest = std::max(largest, at(scores, j));
                    }
                for (double score : scores)
                    if (score > -std::numeric_limits<double>::infinity()) sum += std::exp(score - largest);
                at(result.log_sum_exp, (b * p.heads + h) * p.query_length + i) = largest + std::log(sum);
                if (sum == 0) continue;

                Values probabilities(scores.size(), 0.0), probability_gradients(scores.size(), 0.0);
                double mean = 0;
                for (std::int64_t j = 0; j < p.key_length; ++j)
                    if (p.sees(b, i, j)) {
                        const double factor = p.factor(b, i, j, h);
                        at(probabilities, j) = std::exp(at(scores, j) - largest) / sum;
                        at(probability_gradients, j) = factor * dot(out_gradient, row_of(p.value, key_at(j)));
                        mean += at(probabilities, j) * at(probability_gradients, j);
                        for (std::int64_t c = 0; c < width; ++c) {
                            const double weight = factor * at(probabilities, j);
                            at(result.output, query_at + c) += weight * at(p.value, key_at(j) + c);
                            at(gradients.value, key_at(j) + c) += weight * at(out_gradient, c);
                        }
                    }
                Values query_gradient(static_cast<std::size_t>(width), 0.0);
                for (std::int64_t j = 0; j < p.key_length; ++j)
                    if (p.sees(b, i, j)) {
                        const double gradient = at(probabilities, j) * (at(probability_gradients, j) - mean);
                        at(gradients.bias, bias_at + j) += gradient;
                        const Values key = turned(p, row_of(p.key, key_at(j)), j, 1);
                        Values key_gradient(static_cast<std::size_t>(width));
                        for (std::int64_t c = 0; c < width; ++c) {
                            at(query_gradient, c) += p.scale * gradient * at(key, c);
                            at(key_gradient, c) = p.scale * gradient * at(query, c);
                        }
                        key_gradient = turned(p, key_gradient, j, -1);
                        for (std::int64_t c = 0; c < width; ++c)
                            at(gradients.key, key_at(j) + c) += at(key_gradient, c);
                    }
                query_gradient = turned(p, query_gradient, i + p.query_offset, -1);
                for (std::int64_t c = 0; c < width; ++c)
                    at(gradients.query, query_at + c) = at(query_gradient, c);
            }
    return result;
}

}  // namespace skein::kernels::reference
