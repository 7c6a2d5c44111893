#pragma once

#include <cmath>
#include <optional>
#include <string>

#include "model/nn/model_config.h"
#include "model/nn/parameter.h"
#include "model/nn/pass.h"
#include "model/nn/sharing.h"

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
    Builder(Stream& stream, const ModelConfig& config, const TensorSharing& sharing, std::uint64_t seed,
            ParameterList& parameters)
        : stream_(stream), config_(config), sharing_(sharing), seed_(seed), parameters_(parameters) {}

    const ModelConfig& config() const { return config_; }
    const TensorSharing& sharing() const { return sharing_; }
    Stream& stream() const { return stream_; }

    /// [rows, width], on every rank.
    Parameter& positions(const std::string& name, std::int64_t rows) {
        return add(name + ".weight", {rows, config_.width}, table_values(), Layout::replicated());
    }
    /// [ids, width], of which a rank has a slice of the ids.
    Parameter& table(const std::string& name, std::int64_t ids) {
        return add(name + ".weight", {ids, config_.width}, table_values(), sharing_.split(0, kGrain));
    }
    /// An output projection of its own, likewise.
    Parameter& head(const std::string& name, std::int64_t ids) {
        return add(
            name + ".weight", {ids, config_.width},
            xavier() ? InitialValues::xavier_uniform(config_.width, ids) : InitialValues::normal(kDeviation),
            sharing_.split(0, kGrain));
    }

    /// How a linear layer is shared out.
    enum class Share {
        kOutput,          ///< each rank has a slice of the outputs, which is all heads of a number of them
        kOutputInEights,  ///< a slice of them that begins at a multiple of eight
        kInput,           ///< a slice of the inputs that kOutput gives; its results are parts of a sum
        kInputInEights,   ///< and that kOutputInEights gives
        kNothing,         ///< every rank has all, but uses a part, so that its gradient is a part
    };
    /// From hidden to hidden: [out, in].
    LinearWeights linear(const std::string& name, std::int64_t in, std::int64_t out, Share share) {
        return linear(name, {out, in}, {out}, in, out, kDeviation, share);
    }
    /// `packed` matrices of equal size, each with fans of its own: [packed, heads, head width, in].
    LinearWeights packed_linear(const std::string& name, std::int64_t in, std::int64_t packed,
                                std::int64_t heads, Share share) {
        const std::int64_t head = config_.head_width();
        return linear(name, {packed, heads, head, in}, {packed, heads, head}, in, heads * head, kDeviation,
                      share);
    }
    /// Back into the residual stream: [width, in].
    LinearWeights projection(const std::string& name, std::int64_t in, Share share) {
        return linear(name, {config_.width, in}, {config_.width}, in, config_.width,
                      kDeviation / std::sqrt(2.0 * static_cast<double>(config_.layers)), share);
    }
    NormWeights norm(const std::string& name) {
        NormWeights weights;
        weights.gamma = &add(name + ".weight", {config_.width}, InitialValues::ones(), {});
        if (config_.bias) weights.beta = &add(name + ".bias", {config_.width}, InitialValues::zeros(), {});
        for (Parameter* parameter : {weights.gamma, weights.beta})
            if (parameter) parameter->leaf.partial = sharing_.group && sharing_.sequence;
        return weights;
    }
    DropoutSite dropout(double probability) { return {probability, next_site_++}; }

  private:
    static constexpr double kDeviation = 0.02;
    static constexpr int kGrain = TensorSharing::kGrain;
    bool xavier() const { return config_.kind == ModelKind::kEncoderDecoder; }
    InitialValues table_values() const {
        return InitialValues::normal(xavier() ? 1.0 / std::sqrt(static_cast<double>(config_.width))
                                              : kDeviation);
    }
    Parameter& add(const std::string& name, const Shape& shape, InitialValues initial, const Layout& layout,
                   std::optional<ParameterKind> kind = {}) {
        return parameters_.add(stream_, seed_, name, shape, initial, layout, kind);
    }
    LinearWeights linear(const std::string& name, const Shape& weight, const Shape& bias, std::int64_t in,
                         std::int64_t out, double deviation, Share share) {
        const int outputs = weight.rank() > 2 ? 1 : 0;  // the heads of packed ones
        const bool in_eights = share == Share::kOutputInEights || share == Share::kInputInEights;
        const int grain = in_eights ? kGrain : 1;
        Layout weight_layout, bias_layout;
        if (share == Share::kOutput || share == Share::kOutputInEights)
            weight_layout = bias_layout = sharing_.split(outputs, grain);
        else if (share == Share::kInput || share == Share::kInputInEights)
            weight_layout = sharing_.split(weight.rank() - 1, grain);
        LinearWeights weights;
        weights.weight =
            &add(name + ".weight", weight,
                 xavier() ? InitialValues::xavier_uniform(in, out) : InitialValues::normal(deviation),
                 weight_layout);
        if (config_.bias)
            weights.bias =
                &add(name + ".bias", bias, InitialValues::zeros(), bias_layout, ParameterKind::kVector);
        for (Parameter* parameter : {weights.weight, weights.bias})
            if (parameter) parameter->leaf.partial = sharing_.group && share == Share::kNothing;
        return weights;
    }

    Stream& stream_;
    const ModelConfig& config_;
    TensorSharing sharing_;
    std::uint64_t seed_;
    ParameterList& parameters_;
    std::uint32_t next_site_ = 0;
};

}  // namespace skein
