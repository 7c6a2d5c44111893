// How a Trainer saves: when, in the background or not, and what follows from the outcome.

#include <chrono>
#include <utility>

#include "model/base/error.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

// With a step's scalars a rank tells the others of its part in the save that is under way, and rank 0 of its
// clock. Flags that come late, from steps that were started before a phase began, only cost a message.
constexpr std::uint64_t kBusyFlag = 1u << 16, kFailedFlag = 1u << 17, kTimeFlag = 1u << 18;

using Clock = std::chrono::steady_clock;

}  // namespace

HostState Trainer::host_state(const std::vector<bool>& marked) {
    HostState state(*stream_, marked);
    add_training_state(state, objective_->model().parameters(), training_step_->optimizer());
    return state;
}

// Collective. The tensors and their parts are the same at every save.
void Trainer::plan_saves() {
    if (!shares_.empty()) return;
    HostState state = host_state();
    const std::vector<StateTensor>& tensors = state.tensors();
    shares_ = agree_on_shares(world_, tensors);
    written_.resize(tensors.size());
    for (const SharePiece& piece : shares_)
        if (piece.rank == world_.rank()) written_[piece.tensor] = true;
    if (config_.checkpoint.background && stream_->device() == Device::cpu)
        staging_.emplace(bytes_of_pieces(pieces_of_rank(world_.rank(), tensors, shares_)),
                         stream_->threads());
}

// Every save begins here.
void Trainer::start_save(bool background) {
    audit();
    log_hashes();
    const RunClock::Scope saves(clock_, TimeUse::kSaving);
    state_.loss_scale = training_step_->loss_scale();
    is_time_to_save_ = false;
    last_save_ = Clock::now();
    saving_step_ = state_.step;
    plan_saves();
    saving_from_.emplace(host_state(written_));
    saving_->start(world_, {state_, saving_from_->tensors(), tokenizer_files_}, shares_,
                   background && staging_ ? &*staging_ : nullptr);
    if (!background) finish_save();
}

// What is due at this step. Nothing that was saved already, or is being saved, is saved again.
void Trainer::save() {
    is_time_to_save_ = false;
    if (!writes() || saved_step_ == state_.step) return;
    if (saving_->is_under_way() && saving_step_ == state_.step) return;
    finish_save();
    start_save(config_.checkpoint.background);
}

// At the end of a run. Throws, by way of together, when the checkpoint could not be saved.
void Trainer::save_last() {
    finish_save();
    if (!writes() || saved_step_ == state_.step) return;
    start_save(false);
    if (saved_step_ != state_.step)
        together_(
            [&] { throw IoError(text("train: the last checkpoint could not be saved: ", why_not_saved_)); });
}

// Of a step that is about to start.
std::uint64_t Trainer::saving_flags() {
    std::uint64_t flags = 0;
    if (saving_->is_busy()) flags |= kBusyFlag;
    if (saving_->has_news_of_failure()) flags |= kFailedFlag;
    const std::chrono::seconds every(config_.checkpoint.every.seconds);
    if (world_.rank() == 0 && every.count() > 0 && !saving_->is_under_way() &&
        Clock::now() - last_save_ >= every)
        flags |= kTimeFlag;
    return flags;
}

// Of a step that is over. Collective, as the flags are the same on all ranks.
void Trainer::look_after_save(std::uint64_t flags) {
    is_time_to_save_ |= (flags & kTimeFlag) != 0;
    if (!saving_->is_under_way() || ((flags & kBusyFlag) != 0 && (flags & kFailedFlag) == 0)) return;
    const RunClock::Scope saves(clock_, TimeUse::kSaving);
    if (const auto outcome = saving_->move_on(world_)) settle_save(*outcome);
    if (!saving_->is_under_way()) saving_from_.reset();
}

void Trainer::finish_save() {
    if (!saving_->is_under_way()) return;
    patience().set_phase("saving at step", static_cast<std::int64_t>(saving_step_));
    const RunClock::Scope saves(clock_, TimeUse::kSaving);
    if (const auto outcome = saving_->finish(world_)) settle_save(*outcome);
    saving_from_.reset();
}

void Trainer::settle_save(const SaveOutcome& outcome) {
    const auto before = std::exchange(before_best_, std::nullopt);
    if (outcome) {
        saved_step_ = saving_step_;
        newest_checkpoint_ = outcome.folder;
        if (time_limit_) time_limit_->save_took(outcome.seconds);
        return;
    }
    why_not_saved_ = text(request_.name_of_rank(outcome.failed_rank), ": ", outcome.message);
    say(text("checkpoint of step ", saving_step_, " was not saved: ", why_not_saved_));
    if (!before) return;
    state_.best = before->first;
    state_.patience = before->second;
}

}  // namespace skein
