#pragma once

#include <memory>
#include <optional>
#include <string>

#include "checkpoint/background_save.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "model/base/files.h"
#include "model/tensor/communicator.h"

namespace skein {

/// The checkpoints of one run, in OUT/checkpoints. Whatever moment a process dies in and whichever system
/// call fails, a good checkpoint that was there remains, and a folder is taken for a checkpoint only when all
/// of it was durable. Writing needs the run's lock (run_lock.h).
///
/// Names in the folder: step-NNNNNNNN is a checkpoint. *.tmp is one being written or being removed; what was
/// left of these goes away at the next save, or at the first one that can remove it. step-N.replaced is a
/// good one whose step is being saved again. step-N.bad, .bad-2, ... did not verify when the step was saved
/// again; they stay for people to look at.
class CheckpointStore {
  public:
    /// Keeps the `keep` (at least 1) newest checkpoints, and the best one beside them. `warn` is called on
    /// rank 0. `system` outlives this. `is_ours`, which may be asked in any thread, tells on rank 0 whether
    /// the run's lock is still held: a save ends with an error where it is not; null: it is.
    CheckpointStore(std::string folder, int keep, Warn warn, FileSystem& system = FileSystem::real(),
                    IsOurs is_ours = {});

    const std::string& folder() const { return folder_.path(); }

    /// Collective. Saves step-N for N = state.run.step, in three moves: every rank writes and fsyncs a file
    /// of its own in step-N.tmp; the ranks agree that all did; rank 0 writes model.h5, the tokenizer, last
    /// the manifest, fsyncs them and the folder, renames it and fsyncs the parent. Then older ones are
    /// retired. When anything fails on any rank, all get the same outcome, step-N.tmp is removed, and
    /// everything that was there is as before. Throws CheckpointError, on all ranks, when the tensors
    /// themselves do not fit together, and MpiError.
    SaveOutcome save(Communicator& world, const CheckpointState& state);
    /// For saves in the background, which do the same. One at a time, and none by save() meanwhile.
    std::unique_ptr<BackgroundSave> background() const {
        return std::make_unique<BackgroundSave>(folder_, warn_);
    }

    /// Collective: see newest_checkpoint().
    std::optional<Checkpoint> newest_good(Communicator& world) {
        return newest_checkpoint(world, folder(), warn_);
    }

  private:
    CheckpointFolder folder_;
    Warn warn_;
};

}  // namespace skein
