#pragma once

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/nn/transformer.h"

namespace skein {

/// The model's parameters as tensors to be saved or loaded. They borrow the parameters' memory.
std::vector<StateTensor> parameter_tensors(ParameterList& parameters);

/// Collective: the model of a checkpoint with its weights, on the stream. Throws CheckpointError.
std::unique_ptr<Transformer> load_model(const Checkpoint& checkpoint, Communicator& world, Stream& stream);

}  // namespace skein
