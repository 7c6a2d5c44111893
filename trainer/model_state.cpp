#include "trainer/model_state.h"

#include "trainer/options.h"

namespace skein {

std::vector<StateTensor> parameter_tensors(ParameterList& parameters) {
    std::vector<StateTensor> tensors;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        Parameter& parameter = parameters[i];
        tensors.push_back({std::string(kParametersPrefix) + parameter.name, parameter.leaf.value.dtype(),
                           parameter.global_shape, parameter.layout, parameter.leaf.value.raw_span()});
    }
    return tensors;
}

std::unique_ptr<Transformer> load_model(const Checkpoint& checkpoint, Communicator& world, Stream& stream) {
    const RunConfig config = from_settings(checkpoint.manifest().run.configuration);
    auto model = std::make_unique<Transformer>(stream, config.model, config.train.seed);
    checkpoint.load(world, parameter_tensors(model->parameters()), kParametersPrefix);
    return model;
}

}  // namespace skein
