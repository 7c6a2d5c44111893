#pragma once

#include "model/autograd/ops/cross_entropy.h"
#include "model/nn/model_config.h"
#include "model/nn/parameter.h"
#include "model/nn/sharing.h"

namespace skein {

/// What all models have: a shape, and parameters to optimize, to send and to save; a rank's part of them,
/// where a group of ranks shares the model out.
class Model {
  public:
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;
    virtual ~Model() = default;

    const ModelConfig& config() const { return config_; }
    const TensorSharing& sharing() const { return sharing_; }
    ParameterList& parameters() { return parameters_; }
    const ParameterList& parameters() const { return parameters_; }

  protected:
    /// Throws ConfigError.
    Model(const ModelConfig& config, const TensorSharing& sharing) : config_(config), sharing_(sharing) {
        validate(config_);
        check_sharing(config_, sharing_.size());
    }
    /// Logits [rows, vocabulary] of `hidden`, [rows, width], which has come out of a stack.
    Tensor logits(Stream& stream, const Tensor& hidden, const Parameter& table) const;
    /// What the loss needs to know of the output projection.
    LossOptions with_table(LossOptions options, const Parameter& table) const {
        options.group = sharing_.group;
        options.first_id = table.layout.begin(table.global_shape);
        options.vocabulary = table.global_shape[0];
        return options;
    }

    ModelConfig config_;
    TensorSharing sharing_;
    ParameterList parameters_;
};

}  // namespace skein
