#include "tests/support/reference_model.h"

#include <cmath>

#include "tests/support/reference_ops.h"

namespace skein::fp64 {
namespace {

class Model {
  public:
    Model(const ModelConfig& config, const Parameters& parameters, const Pass& pass, bool want_gradients)
        : config_(config), pass_(pass), place_{pass.length, pass.context.first_sample, 0} {
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

    ModelResult run(bool want_gradients) {
        Matrix x = embed();
        for (std::int64_t layer = 0; layer < config_.layers; ++layer)
            x = block(x, "decoder." + std::to_string(layer) + ".");
        if (config_.norm == NormPlace::kPre) x = norm(x, "decoder.norm");
        const Matrix& head = parameter(config_.tie_embeddings ? "token_embedding.weight" : "head.weight");

        ModelResult result;
        Scalar total;
        for (std::int64_t sample = 0; sample < pass_.samples; ++sample) {
            double loss = 0.0, nll = 0.0;
            std::int64_t correct = 0;
            for (std::int64_t t = 0; t < pass_.length; ++t) {
                const std::int64_t row = sample * pass_.length + t;
                std::vector<Scalar> logits;
                for (std::int64_t v = 0; v < head.rows; ++v) logits.push_back(dot(x.row(row), head.row(v)));
                const RowLoss one = cross_entropy(logits, pass_.targets[static_cast<std::size_t>(row)],
                                                  pass_.label_smoothing);
                total = total + pass_.gradient_scale * one.loss;
                loss += one.loss.value();
                nll += one.nll;
                correct += one.correct;
                result.token_nll.push_back(one.nll);
            }
            result.loss.push_back(loss);
            result.nll.push_back(nll);
            result.correct.push_back(correct);
        }
        result.total = total.value();
        if (!want_gradients) return result;
        graph_.backward(total);
        for (const auto& [name, matrix] : parameters_)
            for (const Scalar& scalar : matrix.values)
                result.gradients[name].push_back(graph_.gradient(scalar));
        return result;
    }

  private:
    const Matrix& parameter(const std::string& name) const { return parameters_.at(name); }
    Matrix optional_parameter(const std::string& name) const {
        const auto found = parameters_.find(name);
        return found == parameters_.end() ? Matrix{} : found->second;
    }

    // Sites are numbered from the embedding upwards: the embedding is 0; a block has attention's
    // probabilities, its output, the hidden layer and its output.
    kernels::Dropout mask(double probability, std::uint32_t site) const {
        if (!pass_.context.training || probability <= 0.0) return {};
        return kernels::make_dropout(
            probability, philox_key(pass_.context.seed, RandomPurpose::kDropout, pass_.context.step, site));
    }

    Matrix embed() const {
        const Matrix& table = parameter("token_embedding.weight");
        Matrix positions = optional_parameter("position_embedding.weight");
        double scale = 1.0;
        if (config_.position == PositionKind::kSinusoidal) {
            scale = std::sqrt(static_cast<double>(config_.width));
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
        return dropped(embedding(table, positions, pass_.ids, scale, place_),
                       mask(config_.embedding_dropout(), 0), place_);
    }

    Matrix norm(const Matrix& x, const std::string& name) const {
        return layer_norm(x, parameter(name + ".weight"), optional_parameter(name + ".bias"));
    }
    Matrix project(const Matrix& x, const std::string& name) const {
        return linear(x, parameter(name + ".weight"), optional_parameter(name + ".bias"));
    }

    Matrix attend(const Matrix& x, const std::string& name, std::uint32_t site) const {
        const std::int64_t kv_width = config_.kv_heads() * config_.head_width();
        Matrix query, key_value;
        if (config_.kv_heads() == config_.heads) {  // packed [3, heads, head_width, width]
            const Matrix qkv = project(x, name + ".qkv");
            query = columns_of(qkv, 0, config_.width);
            key_value = columns_of(qkv, config_.width, 2 * config_.width);
        } else {
            query = project(x, name + ".query");
            key_value = project(x, name + ".key_value");
        }
        Attention options;
        options.batch = pass_.samples;
        options.query_length = options.key_length = pass_.length;
        options.heads = config_.heads;
        options.key_value_heads = config_.kv_heads();
        options.head_width = config_.head_width();
        options.causal = true;
        options.dropout = mask(config_.attention_dropout(), site);
        options.first_sample = place_.first_sample;
        return project(attention(query, columns_of(key_value, 0, kv_width),
                                 columns_of(key_value, kv_width, kv_width), options),
                       name + ".output");
    }

    Matrix feed(const Matrix& x, const std::string& name, std::uint32_t site) const {
        const Matrix hidden =
            activated(project(x, name + ".in"), config_.activation == ActivationKind::kGelu);
        return project(dropped(hidden, mask(config_.feed_forward_dropout(), site), place_), name + ".out");
    }

    Matrix block(const Matrix& start, const std::string& name) {
        const bool pre = config_.norm == NormPlace::kPre;
        const std::uint32_t site = next_site_;
        next_site_ += 4;
        Matrix x = start;
        const Matrix mixed = attend(pre ? norm(x, name + "attention_norm") : x, name + "attention", site);
        x = added(x, dropped(mixed, mask(config_.residual_dropout(), site + 1), place_));
        if (!pre) x = norm(x, name + "attention_norm");
        const Matrix fed =
            feed(pre ? norm(x, name + "feed_forward_norm") : x, name + "feed_forward", site + 2);
        x = added(x, dropped(fed, mask(config_.residual_dropout(), site + 3), place_));
        if (!pre) x = norm(x, name + "feed_forward_norm");
        return x;
    }

    const ModelConfig& config_;
    const Pass& pass_;
    Place place_;
    Graph graph_;
    std::map<std::string, Matrix> parameters_;
    std::uint32_t next_site_ = 1;
};

}  // namespace

ModelResult reference_loss(const ModelConfig& config, const Parameters& parameters, const Pass& pass,
                           bool want_gradients) {
    return Model(config, parameters, pass, want_gradients).run(want_gradients);
}

}  // namespace skein::fp64
