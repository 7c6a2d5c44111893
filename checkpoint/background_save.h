#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/errand.h"
#include "checkpoint/share.h"
#include "checkpoint/staging.h"
#include "checkpoint/state_tensor.h"
#include "model/tensor/communicator.h"

namespace skein {

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
    double seconds = 0.0;  ///< that its phases took, each by the slowest rank; not what lay between them
    explicit operator bool() const { return failed_rank < 0; }
};

/// Saves a checkpoint while its caller goes on, by phases: rank 0 prepares the folder; every rank writes a
/// file of its own; rank 0 publishes and retires. After a failure those that are still writing are waited
/// for, and rank 0 removes what was written. The work of a phase is done in a thread of each rank; between
/// two phases the ranks, whose callers' threads alone communicate, tell each other how it went (move_on).
/// One save at a time.
class BackgroundSave {
  public:
    /// `warn` is called on rank 0, in the caller's thread.
    BackgroundSave(CheckpointFolder folder, Warn warn) : folder_(std::move(folder)), warn_(std::move(warn)) {}

    /// Every rank calls it at the same place, when no save is under way; nothing is told yet. With `staging`
    /// the bytes are copied there, and the tensors may change from then on; without, they must stay as they
    /// are until the outcome is known and is_under_way() no longer. `shares` are agree_on_shares() of these
    /// tensors. What fails here on one rank is the outcome.
    void start(Communicator& world, const CheckpointState& state, const std::vector<SharePiece>& shares,
               Staging* staging);

    /// The same on all ranks, like the step of each save's way from phase to phase.
    bool is_under_way() const { return phase_ != Phase::kNone; }
    /// This rank's part of the phase is not over. No longer when it is asked again.
    bool is_busy() const { return is_under_way() && !errand_.is_over(); }
    /// This rank's part failed, and the others do not know.
    bool has_news_of_failure() const;

    /// Collective, when is_under_way(): to be called when no rank is busy or one has failed; any other time
    /// it only costs a message. Goes on to the next phase. Gives the outcome when it becomes known: of a save
    /// that failed before it is over.
    std::optional<SaveOutcome> move_on(Communicator& world);
    /// Collective: waits until no save is under way, and gives the outcome if it was not known yet. A rank
    /// may take as long as its disk does, and answers the others meanwhile.
    std::optional<SaveOutcome> finish(Communicator& world);

  private:
    enum class Phase { kNone, kPreparing, kWriting, kPublishing, kDraining, kClearing };

    void enter(Communicator& world, Phase phase);
    void prepare();
    std::string write(int rank, const std::stop_token& stop) const;
    /// And retires.
    void publish(const std::vector<std::string>& told);

    CheckpointFolder folder_;
    Warn warn_;
    Phase phase_ = Phase::kNone;
    std::string name_;
    CheckpointState state_;  // without the tensors' bytes
    std::vector<SharePiece> shares_;
    std::vector<RankPiece> own_;
    std::vector<std::string> told_;  // by the ranks, of the last phase
    double seconds_ = 0.0;           // of the phases that are over
    // of the errand that is under way, or else of the caller:
    std::uint64_t sequence_ = 0;
    std::vector<std::string> notes_;
    Errand errand_;  // last: its thread uses the others
};

}  // namespace skein
