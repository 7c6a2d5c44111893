#pragma once

#include "model/nn/model_config.h"
#include "model/nn/parameter.h"

namespace skein {

/// What all models have: a shape, and parameters to optimize, to send and to save.
class Model {
  public:
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;
    virtual ~Model() = default;

    const ModelConfig& config() const { return config_; }
    ParameterList& parameters() { return parameters_; }
    const ParameterList& parameters() const { return parameters_; }

  protected:
    /// Throws ConfigError.
    explicit Model(const ModelConfig& config) : config_(config) { validate(config_); }

    ModelConfig config_;
    ParameterList parameters_;
};

}  // namespace skein
