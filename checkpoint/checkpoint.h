#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/state_tensor.h"
#include "model/tensor/communicator.h"

namespace skein {

/// Takes one line of text for the user. Called on rank 0 only.
using Warn = std::function<void(const std::string&)>;

/// A checkpoint on disk whose manifest and files all have the bytes that were written.
class Checkpoint {
  public:
    /// Collective. Rank 0 reads the manifest; the files are shared out to the ranks, and sizes and block
    /// hashes of all are checked before HDF5 opens one. Throws CheckpointError, the same on all ranks, that
    /// names the folder, the file and the place.
    static Checkpoint open(Communicator& world, const std::string& folder);

    const std::string& folder() const { return folder_; }
    const Manifest& manifest() const { return manifest_; }

    /// Collective. Fills the tensors' bytes, each rank its own part, whatever layout they were saved under.
    /// The tensors must be exactly those of the checkpoint whose names begin with `prefix`, of the same
    /// dtypes and shapes: a tensor that is missing, left over or different is a CheckpointError that names
    /// it, never a cast. The first rank's error is thrown on all.
    void load(Communicator& world, std::span<const StateTensor> tensors, std::string_view prefix = "") const;

  private:
    Checkpoint(std::string folder, Manifest manifest)
        : folder_(std::move(folder)), manifest_(std::move(manifest)) {}
    void check_tensors(std::span<const StateTensor> tensors, std::string_view prefix) const;

    std::string folder_;
    Manifest manifest_;
};

/// "step-00001000"
std::string checkpoint_name(std::uint64_t step);

/// A folder of a run's checkpoints that has a readable manifest.
struct CheckpointEntry {
    std::string name;  ///< of the folder
    std::uint64_t sequence = 0, step = 0;
    std::optional<BestMetric> best;
};

/// The checkpoints in OUT/checkpoints, newest (by Manifest::sequence) first; none when there is no such
/// folder. Only manifests are read. One whose manifest does not verify is passed over with a warning. Throws
/// IoError.
std::vector<CheckpointEntry> list_checkpoints(const std::string& folder, const Warn& warn);

/// Collective: the newest checkpoint in OUT/checkpoints of which every byte verifies; nothing when there is
/// none. Each newer one is passed over with a warning.
std::optional<Checkpoint> newest_checkpoint(Communicator& world, const std::string& folder, const Warn& warn);

/// Collective: what `--checkpoint PATH` means. PATH is a checkpoint, or a run's folder or its checkpoints
/// folder: then the best checkpoint there, which the newest manifest names, else the newest; one that does
/// not verify is passed over with a warning. Throws MissingError when there is no checkpoint at all,
/// CheckpointError when none is good.
Checkpoint find_checkpoint(Communicator& world, const std::string& path, const Warn& warn);

}  // namespace skein
