#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "model/kernels/dropout.h"
#include "tests/support/scalar_graph.h"

/// The operations of a Transformer on fp64 scalars, each written as its formula. An empty Matrix stands for
/// "none".
namespace skein::fp64 {

/// x · wᵀ + b.
inline Matrix linear(const Matrix& x, const Matrix& weight, const Matrix& bias) {
    Matrix y(x.rows, weight.rows);
    for (std::int64_t r = 0; r < y.rows; ++r)
        for (std::int64_t c = 0; c < y.columns; ++c) {
            y(r, c) = dot(x.row(r), weight.row(c));
            if (bias) y(r, c) = y(r, c) + bias(0, c);
        }
    return y;
}

/// The tanh form of Hendrycks and Gimpel, 2016.
inline Scalar gelu(const Scalar& x) {
    return 0.5 * x * (1.0 + tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

inline Matrix activated(const Matrix& x, bool use_gelu) {
    Matrix y(x.rows, x.columns);
    for (std::size_t i = 0; i < x.values.size(); ++i)
        y.values[i] = use_gelu ? gelu(x.values[i]) : relu(x.values[i]);
    return y;
}

/// Row r is position r % positions + first_position of sample first_sample + r / positions.
struct Place {
    std::int64_t positions = 1, first_sample = 0, first_position = 0;
};

inline double dropout_factor(const kernels::Dropout& dropout, std::int64_t sample, std::int64_t position,
                             std::int64_t channel, std::int64_t plane = 0) {
    const bool kept =
        kernels::keeps(dropout, static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position),
                       static_cast<std::uint32_t>(channel), static_cast<std::uint32_t>(plane));
    return kept ? 65536.0 / (65536.0 - dropout.threshold) : 0.0;
}

inline Matrix dropped(const Matrix& x, const kernels::Dropout& dropout, const Place& place) {
    Matrix y = x;
    for (std::int64_t r = 0; r < x.rows; ++r)
        for (std::int64_t c = 0; c < x.columns; ++c)
            y(r, c) = x(r, c) * dropout_factor(dropout, place.first_sample + r / place.positions,
                                               place.first_position + r % place.positions, c);
    return y;
}

inline Matrix added(const Matrix& a, const Matrix& b) {
    Matrix y(a.rows, a.columns);
    for (std::size_t i = 0; i < a.values.size(); ++i) y.values[i] = a.values[i] + b.values[i];
    return y;
}

inline Matrix layer_norm(const Matrix& x, const Matrix& gamma, const Matrix& beta, double epsilon = 1e-5) {
    Matrix y(x.rows, x.columns);
    const auto width = static_cast<double>(x.columns);
    for (std::int64_t r = 0; r < x.rows; ++r) {
        const Scalar mean = sum(x.row(r)) / width;
        std::vector<Scalar> centred;
        for (const Scalar& value : x.row(r)) centred.push_back(value - mean);
        const Scalar deviation = sqrt(dot(centred, centred) / width + epsilon);
        for (std::int64_t c = 0; c < x.columns; ++c) {
            y(r, c) = centred[static_cast<std::size_t>(c)] / deviation * gamma(0, c);
            if (beta) y(r, c) = y(r, c) + beta(0, c);
        }
    }
    return y;
}

/// scale · table[ids] + positions.
inline Matrix embedding(const Matrix& table, const Matrix& positions, const std::vector<std::int32_t>& ids,
                        double scale, const Place& place) {
    Matrix y(static_cast<std::int64_t>(ids.size()), table.columns);
    for (std::int64_t r = 0; r < y.rows; ++r)
        for (std::int64_t c = 0; c < y.columns; ++c) {
            y(r, c) = scale * table(ids[static_cast<std::size_t>(r)], c);
            if (positions) y(r, c) = y(r, c) + positions(place.first_position + r % place.positions, c);
        }
    return y;
}

/// Columns [first, first + count).
inline Matrix columns_of(const Matrix& x, std::int64_t first, std::int64_t count) {
    Matrix y(x.rows, count);
    for (std::int64_t r = 0; r < x.rows; ++r)
        for (std::int64_t c = 0; c < count; ++c) y(r, c) = x(r, first + c);
    return y;
}

struct Attention {
    std::int64_t batch = 1, query_length = 1, key_length = 1, heads = 1, key_value_heads = 1, head_width = 1;
    bool causal = false;
    std::int64_t query_offset = 0, first_sample = 0;
    std::vector<std::int32_t> key_lengths, query_lengths;  ///< empty: none
    Matrix bias;                                           ///< [heads · query_length, key_length]
    std::vector<float> rotary_cos, rotary_sin;             ///< [positions, head_width / 2]
    kernels::Dropout dropout;

    bool sees(std::int64_t b, std::int64_t i, std::int64_t j) const {
        if (!key_lengths.empty() && j >= key_lengths[static_cast<std::size_t>(b)]) return false;
        if (!query_lengths.empty() && i >= query_lengths[static_cast<std::size_t>(b)]) return false;
        return !causal || j <= i + query_offset;
    }
    std::vector<Scalar> turned(std::span<const Scalar> row, std::int64_t position) const {
        std::vector<Scalar> out(row.begin(), row.end());
        if (rotary_cos.empty()) return out;
        for (std::size_t pair = 0; pair < row.size() / 2; ++pair) {
            const std::size_t angle = static_cast<std::size_t>(position) * (row.size() / 2) + pair;
            const double cosine = static_cast<double>(rotary_cos[angle]),
                         sine = static_cast<double>(rotary_sin[angle]);
            out[2 * pair] = row[2 * pair] * cosine - row[2 * pair + 1] * sine;
            out[2 * pair + 1] = row[2 * pair] * sine + row[2 * pair + 1] * cosine;
        }
        return out;
    }
};

/// query: [batch · query_length, heads · head_width]; key, value: [batch · key_length, key_value_heads ·
/// head_width].
inline Matrix attention(const Matrix& query, const Matrix& key, const Matrix& value,
                        const Attention& options) {
    const std::int64_t width = options.head_width, group = options.heads / options.key_value_heads;
    Matrix y(query.rows, query.columns);
    for (std::int64_t b = 0; b < options.batch; ++b)
        for (std::int64_t h = 0; h < options.heads; ++h)
            for (std::int64_t i = 0; i < options.query_length; ++i) {
                const std::int64_t row = b * options.query_length + i, column = h / group * width;
                const auto q =
                    options.turned(query.part_of_row(row, h * width, width), i + options.query_offset);
                std::vector<Scalar> scores;
                std::vector<std::int64_t> seen;
                double highest = -std::numeric_limits<double>::infinity();
                for (std::int64_t j = 0; j < options.key_length; ++j) {
                    if (!options.sees(b, i, j)) continue;
                    const auto k =
                        options.turned(key.part_of_row(b * options.key_length + j, column, width), j);
                    Scalar score = dot(q, k) / std::sqrt(static_cast<double>(width));
                    if (options.bias) score = score + options.bias(h * options.query_length + i, j);
                    highest = std::max(highest, score.value());
                    scores.push_back(score);
                    seen.push_back(j);
                }
                if (seen.empty()) continue;  // sees nothing: zero
                for (Scalar& score : scores) score = exp(score - highest);
                const Scalar total = sum(scores);
                for (std::size_t n = 0; n < seen.size(); ++n)
                    scores[n] = scores[n] / total *
                                dropout_factor(options.dropout, options.first_sample + b,
                                               i + options.query_offset, seen[n], h);
                for (std::int64_t c = 0; c < width; ++c) {
                    std::vector<Scalar> values;
                    for (const std::int64_t j : seen)
                        values.push_back(value(b * options.key_length + j, column + c));
                    y(row, h * width + c) = dot(scores, values);
                }
            }
    return y;
}

struct RowLoss {
    Scalar loss;           ///< with label smoothing
    double nll = 0.0;      ///< without
    bool correct = false;  ///< the target's logit is the first largest
};

/// -(1 - ε) log p[target] - ε / V Σ log p; nothing for a negative target.
inline RowLoss cross_entropy(std::span<const Scalar> logits, std::int32_t target, double smoothing) {
    if (target < 0) return {};
    std::size_t first_largest = 0;
    for (std::size_t v = 0; v < logits.size(); ++v)
        if (logits[v].value() > logits[first_largest].value()) first_largest = v;
    const double highest = logits[first_largest].value();
    std::vector<Scalar> exponentials;
    for (const Scalar& logit : logits) exponentials.push_back(exp(logit - highest));
    const Scalar log_total = highest + log(sum(exponentials));
    const auto vocabulary = static_cast<double>(logits.size());
    const Scalar nll = log_total - logits[static_cast<std::size_t>(target)];
    const Scalar mean_nll = log_total - sum(logits) / vocabulary;
    return {(1.0 - smoothing) * nll + smoothing * mean_nll, nll.value(),
            first_largest == static_cast<std::size_t>(target)};
}

}  // namespace skein::fp64
