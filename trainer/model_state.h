#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "data/data_folder.h"
#include "trainer/objective.h"
#include "trainer/optimizer.h"

namespace skein {

/// Where checkpoints have the optimizer's moments, by the parameters' names behind these.
inline constexpr std::string_view kMoment1Prefix = "moment1/";
inline constexpr std::string_view kMoment2Prefix = "moment2/";

/// Tensors as checkpoints have them, in the host's memory: on the CPU where they lie, of a GPU a copy.
class HostState {
  public:
    /// Of the tensors in the order in which they are added only those marked are held; none marked: all.
    explicit HostState(Stream& stream, std::vector<bool> marked = {})
        : stream_(stream), marked_(std::move(marked)) {}

    /// Adds a tensor of the parameter's global shape, of which this rank holds nothing yet.
    void add(const std::string& name, const Parameter& parameter);
    /// Of the tensor that was added last, this rank holds `values` as the elements from `begin` on of its
    /// part of the parameter. On a GPU their copy is complete after the next call of tensors.
    void hold(const Parameter& parameter, std::int64_t begin, const Tensor& values);
    /// What was added, in order; valid while this lives.
    const std::vector<StateTensor>& tensors();
    /// What was changed there becomes the device's.
    void write_back();

  private:
    struct Copy {
        Tensor device, host;
    };
    Stream& stream_;
    std::vector<bool> marked_;
    std::vector<Copy> copies_;
    std::vector<StateTensor> tensors_;
};

/// All parameters' values, by name behind kParametersPrefix.
void add_parameters(HostState& state, const ParameterList& parameters);
/// The same of those that the optimizer holds parts of alone, and the moments behind their prefixes.
void add_training_state(HostState& state, const ParameterList& parameters, const Optimizer& optimizer);
/// Their values become the checkpoint's. Collective; throws CheckpointError.
void load_parameters(const Checkpoint& checkpoint, Communicator& world, ParameterList& parameters,
                     Stream& stream);

/// Collective: the model of a checkpoint with its weights, or this rank's part of it, in the precision that
/// it was trained in, on the stream, which must outlive it. Throws CheckpointError, ConfigError.
std::unique_ptr<Objective> load_objective(const Checkpoint& checkpoint, Communicator& world, Stream& stream,
                                          const TensorSharing& sharing = {});

/// The value of a name; empty when it is not there.
std::string find_text(const NamedTexts& texts, std::string_view name);

/// Under which names the fingerprint of a run's data and the SHA-256 of its tokenizers stand in
/// RunState::leans_on.
inline constexpr const char* kDataName = "data";
inline constexpr const char* kTokenizerName = "tokenizer";
inline constexpr const char* kSourceTokenizerName = "source tokenizer";

/// Throws DataError unless the folder's tokens were made with the tokenizers that the checkpoint was trained
/// with. A checkpoint that names none was trained on tokens that name none.
void check_tokenizers(const Manifest& manifest, const DataFolder& folder);

}  // namespace skein
