#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "data/data_folder.h"
#include "trainer/objective.h"

namespace skein {

/// The model's parameters as tensors to be saved or loaded. They borrow the parameters' memory.
std::vector<StateTensor> parameter_tensors(ParameterList& parameters);

/// Collective: the model of a checkpoint with its weights, in the precision that it was trained in, on the
/// stream, which must outlive it. Throws CheckpointError.
std::unique_ptr<Objective> load_objective(const Checkpoint& checkpoint, Communicator& world, Stream& stream);

/// The value of a name; empty when it is not there.
std::string find_text(const NamedTexts& texts, std::string_view name);

/// Under which names the SHA-256 of a run's tokenizers stand in RunState::leans_on.
inline constexpr const char* kTokenizerName = "tokenizer";
inline constexpr const char* kSourceTokenizerName = "source tokenizer";

/// Throws DataError unless the folder's tokens were made with the tokenizers that the checkpoint was trained
/// with. A checkpoint that names none was trained on tokens that name none.
void check_tokenizers(const Manifest& manifest, const DataFolder& folder);

}  // namespace skein
