#pragma once

#include <cmath>
#include <string>

#include "tests/support/reference_model.h"
#include "tests/support/reference_ops.h"

namespace skein::fp64 {

/// The parameters of a reference model and the sublayers made of them. Dropout sites are numbered in the
/// order of use.
class Layers {
  public:
    Layers(const ModelConfig& config, const Parameters& parameters, const PassContext& context,
           bool want_gradients)
        : config_(config), context_(context) {
        for (const auto& [name, values] : parameters) {
            const bool vector = name.ends_with(".bias") || name.find("norm.weight") != std::string::npos;
            const auto size = static_cast<std::int64_t>(values.size());
            const std::int64_t columns = vector                                      ? size
                                         : name.ends_with("feed_forward.out.weight") ? config.ff()
                                                                                     : config.width;
            Matrix matrix(size / columns, columns);
            for (std::size_t i = 0; i < values.size(); ++i)
                matrix.values[i] = want_gradients ? graph_.variable(values[i]) : Scalar(values[i]);
            parameters_.emplace(name, std::move(matrix));
        }
    }

    const Matrix& parameter(const std::string& name) const { return parameters_.at(name); }
    bool pre_norm() const { return config_.norm == NormPlace::kPre; }

    Matrix norm(const Matrix& x, const std::string& name) const {
        return layer_norm(x, parameter(name + ".weight"), optional_parameter(name + ".bias"));
    }

    Matrix embed(const std::string& tokens, const std::string& learned, const std::vector<std::int32_t>& ids,
                 bool scaled, const Place& place, std::uint32_t site) const {
        Matrix positions = optional_parameter(learned);
        if (config_.position == PositionKind::kSinusoidal) {
            positions = Matrix(config_.context, config_.width);
            for (std::int64_t t = 0; t < config_.context; ++t)
                for (std::int64_t i = 0; 2 * i < config_.width; ++i) {
                    const double angle =
                        static_cast<double>(t) /
                        std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(config_.width));
                    positions(t, 2 * i) = std::sin(angle);
                    if (2 * i + 1 < config_.width) positions(t, 2 * i + 1) = std::cos(angle);
                }
        }
        return dropped(embedding(parameter(tokens), positions, ids,
                                 scaled ? std::sqrt(static_cast<double>(config_.width)) : 1.0, place),
                       mask(config_.embedding_dropout(), site), place);
    }

    /// x ← x + dropout(sublayer(x)), with its norm before or after. `site` is that of the sublayer's output.
    template <class Sublayer>
    Matrix residual(const Matrix& x, const std::string& norm_name, std::uint32_t site, const Place& place,
                    const Sublayer& sublayer) const {
        const Matrix y = sublayer(pre_norm() ? norm(x, norm_name) : x);
        const Matrix sum = added(x, dropped(y, mask(config_.residual_dropout(), site), place));
        return pre_norm() ? sum : norm(sum, norm_name);
    }

    /// Queries from `x`; keys and values from `source`, or from x itself when it is null.
    Matrix attend(const Matrix& x, const Matrix* source, const std::string& name, bool causal,
                  const Place& place, std::uint32_t site) const {
        const std::int64_t kv_width = config_.kv_heads() * config_.head_width();
        Matrix query, key_value;
        if (!source && config_.kv_heads() == config_.heads) {  // packed [3, heads, head_width, width]
            const Matrix qkv = project(x, name + ".qkv");
            query = columns_of(qkv, 0, config_.width);
            key_value = columns_of(qkv, config_.width, 2 * config_.width);
        } else {
            query = project(x, name + ".query");
            key_value = project(source ? *source : x, name + ".key_value");
        }
        Attention options;
        options.batch = x.rows / place.positions;
        options.query_length = place.positions;
        options.key_length = key_value.rows / options.batch;
        options.heads = config_.heads;
        options.key_value_heads = config_.kv_heads();
        options.head_width = config_.head_width();
        options.causal = causal;
        options.dropout = mask(config_.attention_dropout(), site);
        options.first_sample = place.first_sample;
        return project(attention(query, columns_of(key_value, 0, kv_width),
                                 columns_of(key_value, kv_width, kv_width), options),
                       name + ".output");
    }

    Matrix feed(const Matrix& x, const std::string& name, const Place& place, std::uint32_t site) const {
        const Matrix hidden =
            activated(project(x, name + ".in"), config_.activation == ActivationKind::kGelu);
        return project(dropped(hidden, mask(config_.feed_forward_dropout(), site), place), name + ".out");
    }

    /// A layer with sites site ... site + 3: attention's probabilities, its output, the hidden layer, its
    /// output.
    Matrix block(const Matrix& start, const std::string& name, bool causal, const Place& place,
                 std::uint32_t site) const {
        const Matrix x = residual(start, name + "attention_norm", site + 1, place, [&](const Matrix& y) {
            return attend(y, nullptr, name + "attention", causal, place, site);
        });
        return residual(x, name + "feed_forward_norm", site + 3, place,
                        [&](const Matrix& y) { return feed(y, name + "feed_forward", place, site + 2); });
    }

    /// Adds one sample's sums to the result, and gradient_scale times its loss to `total`.
    void add_loss(const Matrix& hidden, std::int64_t first_row, std::span<const std::int32_t> targets,
                  const std::string& head_name, double label_smoothing, double gradient_scale, Scalar& total,
                  ModelResult& result) const {
        const Matrix& head = parameter(head_name);
        double loss = 0.0, nll = 0.0;
        std::int64_t correct = 0;
        for (std::size_t t = 0; t < targets.size(); ++t) {
            std::vector<Scalar> logits;
            for (std::int64_t v = 0; v < head.rows; ++v)
                logits.push_back(dot(hidden.row(first_row + static_cast<std::int64_t>(t)), head.row(v)));
            const RowLoss one = cross_entropy(logits, targets[t], label_smoothing);
            total = total + gradient_scale * one.loss;
            loss += one.loss.value();
            nll += one.nll;
            correct += one.correct;
            result.token_nll.push_back(one.nll);
        }
        result.loss.push_back(loss);
        result.nll.push_back(nll);
        result.correct.push_back(correct);
    }

    void add_gradients(const Scalar& total, ModelResult& result) {
        graph_.backward(total);
        for (const auto& [name, matrix] : parameters_)
            for (const Scalar& scalar : matrix.values)
                result.gradients[name].push_back(graph_.gradient(scalar));
    }

  private:
    Matrix optional_parameter(const std::string& name) const {
        const auto found = parameters_.find(name);
        return found == parameters_.end() ? Matrix{} : found->second;
    }
    Matrix project(const Matrix& x, const std::string& name) const {
        return linear(x, parameter(name + ".weight"), optional_parameter(name + ".bias"));
    }
    kernels::Dropout mask(double probability, std::uint32_t site) const {
        if (!context_.training || probability <= 0.0) return {};
        return kernels::make_dropout(probability,
                                     philox_key(context_.seed, RandomPurpose::kDropout, context_.step, site));
    }

    const ModelConfig& config_;
    const PassContext& context_;
    Graph graph_;
    std::map<std::string, Matrix> parameters_;
};

}  // namespace skein::fp64
