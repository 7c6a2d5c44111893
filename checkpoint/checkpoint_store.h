#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "checkpoint/share.h"
#include "checkpoint/state_tensor.h"
#include "model/base/files.h"
#include "model/tensor/communicator.h"

namespace skein {

/// A small file to be kept with a checkpoint, under a plain name: the tokenizer's.
struct SideFile {
    std::string name, bytes;
};

/// What a checkpoint is made of. `tensors` is each rank's own view; the rest is taken from rank 0.
struct CheckpointState {
    RunState run;
    std::vector<StateTensor> tensors;
    std::vector<SideFile> tokenizer;
};

/// The same on all ranks.
struct SaveOutcome {
    std::string folder;    ///< where the checkpoint is; empty when it was not saved
    int failed_rank = -1;  ///< the first rank that did not succeed
    std::string message;   ///< what went wrong there, in one line
    explicit operator bool() const { return failed_rank < 0; }
};

/// The checkpoints of one run, in OUT/checkpoints. Whatever moment a process dies in and whichever system
/// call fails, a good checkpoint that was there remains, and a folder is taken for a checkpoint only when all
/// of it was durable. Writing needs the run's lock (run_lock.h).
///
/// Names in the folder: step-NNNNNNNN is a checkpoint. *.tmp is one being written or being removed; what a
/// dead process left of these goes away at the next save. step-N.replaced is a good one whose step is being
/// saved again. step-N.bad, .bad-2, ... did not verify when the step was saved again; they stay for people to
/// look at.
class CheckpointStore {
  public:
    /// Keeps the `keep` (at least 1) newest checkpoints, and the best one beside them. `warn` is called on
    /// rank 0. `system` outlives this.
    CheckpointStore(std::string folder, int keep, Warn warn, FileSystem& system = FileSystem::real());

    const std::string& folder() const { return folder_; }

    /// Collective. Saves step-N for N = state.run.step, in three moves: every rank writes and fsyncs a file
    /// of its own in step-N.tmp; the ranks agree that all did; rank 0 writes model.h5, the tokenizer, last
    /// the manifest, fsyncs them and the folder, renames it and fsyncs the parent. Then older ones are
    /// retired. When anything fails on any rank, all get the same outcome, step-N.tmp is removed, and
    /// everything that was there is as before. Throws CheckpointError, on all ranks, when the tensors
    /// themselves do not fit together, and MpiError.
    SaveOutcome save(Communicator& world, const CheckpointState& state);

    /// Collective: see newest_checkpoint().
    std::optional<Checkpoint> newest_good(Communicator& world) {
        return newest_checkpoint(world, folder_, warn_);
    }

  private:
    std::uint64_t prepare(const std::string& name);
    void set_bad_aside(const std::string& name);
    void write_side_files(const std::string& temporary, const CheckpointState& state, Manifest& manifest);
    void publish(const std::string& name);
    void retire(const std::string& newest, const std::optional<BestMetric>& best);
    void remove(const std::string& name);

    std::string folder_;
    int keep_;
    Warn warn_;
    FileSystem& system_;
};

}  // namespace skein
