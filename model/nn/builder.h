#pragma once

#include <cmath>
#include <string>

#include "model/nn/model_config.h"
#include "model/nn/parameter.h"
#include "model/nn/pass.h"

namespace skein {

/// y = x · weightᵀ + bias.
struct LinearWeights {
    Parameter* weight = nullptr;
    Parameter* bias = nullptr;  ///< null: none

    Var weight_on(Tape& tape) const { return tape.leaf(weight->leaf); }
    Var bias_on(Tape& tape) const { return bias ? tape.leaf(bias->leaf) : Var{}; }
};

/// Scale and shift of a layer norm.
struct NormWeights {
    Parameter* gamma = nullptr;
    Parameter* beta = nullptr;  ///< null: none

    Var gamma_on(Tape& tape) const { return tape.leaf(gamma->leaf); }
    Var beta_on(Tape& tape) const { return beta ? tape.leaf(beta->leaf) : Var{}; }
};

/// Makes a model's parameters and dropout sites in order, with the initial values of its kind. A decoder has
/// GPT's: N(0, 0.02), and N(0, 0.02 / sqrt(2 · layers)) for the projections back into the residual stream
/// (Radford et al., 2019). An encoder-decoder has N(0, 1 / width) for tables, whose rows are multiplied by
/// sqrt(width) as they are read, and Xavier-uniform for the other matrices (Glorot and Bengio, 2010). Biases
/// are zero, gains one.
class Builder {
  public:
    Builder(Stream& stream, const ModelConfig& config, std::uint64_t seed, ParameterList& parameters)
        : stream_(stream), config_(config), seed_(seed), parameters_(parameters) {}

    const ModelConfig& config() const { return config_; }
    Stream& stream() const { return stream_; }

    Parameter& table(const std::string& name, std::int64_t rows) {
        return parameters_.add(
            stream_, seed_, name + ".weight", {rows, config_.width},
            InitialValues::normal(xavier() ? 1.0 / std::sqrt(static_cast<double>(config_.width))
                                           : kDeviation));
    }
    /// An output projection of its own, [rows, width].
    Parameter& head(const std::string& name, std::int64_t rows) {
        return parameters_.add(stream_, seed_, name + ".weight", {rows, config_.width},
                               xavier() ? InitialValues::xavier_uniform(config_.width, rows)
                                        : InitialValues::normal(kDeviation));
    }
    enum class Into { kHidden, kResidual };
    /// [out, in], which holds `packed` matrices of equal size: each has its own fans.
    LinearWeights linear(const std::string& name, std::int64_t in, std::int64_t out, Into into,
                         std::int64_t packed = 1) {
        const double deviation = into == Into::kResidual
                                     ? kDeviation / std::sqrt(2.0 * static_cast<double>(config_.layers))
                                     : kDeviation;
        LinearWeights weights;
        weights.weight = &parameters_.add(
            stream_, seed_, name + ".weight", {out, in},
            xavier() ? InitialValues::xavier_uniform(in, out / packed) : InitialValues::normal(deviation));
        if (config_.bias)
            weights.bias = &parameters_.add(stream_, seed_, name + ".bias", {out}, InitialValues::zeros());
        return weights;
    }
    NormWeights norm(const std::string& name) {
        NormWeights weights;
        weights.gamma =
            &parameters_.add(stream_, seed_, name + ".weight", {config_.width}, InitialValues::ones());
        if (config_.bias)
            weights.beta =
                &parameters_.add(stream_, seed_, name + ".bias", {config_.width}, InitialValues::zeros());
        return weights;
    }
    DropoutSite dropout(double probability) { return {probability, next_site_++}; }

  private:
    static constexpr double kDeviation = 0.02;
    bool xavier() const { return config_.kind == ModelKind::kEncoderDecoder; }

    Stream& stream_;
    const ModelConfig& config_;
    std::uint64_t seed_;
    ParameterList& parameters_;
    std::uint32_t next_site_ = 0;
};

}  // namespace skein
