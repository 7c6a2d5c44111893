#include "trainer/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <utility>

#include "model/base/error.h"
#include "trainer/utilisation.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatchesAhead = 4;
constexpr std::uint64_t kStopFlag = 1, kLockLostFlag = 2, kUnreadFlag = 4;
constexpr const char* kNotFinite = "not finite";
constexpr const char* kOverflow = "overflow";
constexpr const char* kInARow = "in a row";

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

Trainer::~Trainer() = default;

void Trainer::say(const std::string& line) const {
    if (world_.rank() == 0 && observer_.line) observer_.line(line);
}

void Trainer::note_end(const RunEnd& end) {
    if (!std::exchange(is_noted_, false) || (lock_ && !lock_->held())) return;
    try {
        append_run_line(request_.out, end_line(end, clock_));
    } catch (const std::exception& error) {  // the run is over, and what it is for is on the disk
        say(error.what());
    }
}

void Trainer::note_failure(const std::string& line, int code) noexcept {
    try {
        note_end({"failed", state_.step, line, code});
    } catch (const std::exception&) {  // no memory for a line
    }
}

void Trainer::evaluate_now() {
    const auto step = static_cast<std::int64_t>(state_.step);
    patience().set_phase("evaluation at step", step);
    const auto begin = Clock::now();
    const RunClock::Scope evaluates(clock_, TimeUse::kEvaluating);
    end_together([&] { evaluation_ = evaluate(*objective_, *stream_, *data_group_, *validation_data_); });
    if (time_limit_) time_limit_->evaluation_took(seconds_since(begin));
    if (log_) log_->evaluation(step, *evaluation_);
    say(text("step ", step, ": validation loss ", evaluation_->loss, ", perplexity ",
             evaluation_->perplexity(), ", accuracy ", evaluation_->accuracy));
    if (before_best_) finish_save();  // what is not on disk is not the best one
    if (!std::isfinite(evaluation_->loss) || (state_.best && state_.best->value <= evaluation_->loss)) {
        ++state_.patience;
        return;
    }
    finish_save();
    before_best_ = {std::exchange(state_.best, BestMetric{evaluation_->loss, state_.step}),
                    std::exchange(state_.patience, 0)};
    save();
}

void Trainer::end_together(const std::function<void()>& part) {
    try {
        together_(part);
    } catch (const MpiError&) {  // there is nobody to do it with
        throw;
    } catch (...) {  // on all ranks
        finish_save();
        throw;
    }
}

bool Trainer::out_of_patience() const {
    return config_.eval.patience > 0 && state_.patience >= static_cast<std::uint64_t>(config_.eval.patience);
}

std::uint64_t& Trainer::skips(const char* reason) {
    for (auto& [name, count] : state_.skips)
        if (name == reason) return count;
    return state_.skips.emplace_back(reason, 0).second;
}

void Trainer::count_skip(const StepOutcome& outcome) {
    if (!outcome.skipped) {
        if (!state_.skips.empty()) skips(kInARow) = 0;
        return;
    }
    ++skips(outcome.overflow ? kOverflow : kNotFinite);
    if (!outcome.overflow) ++skips(kInARow);
    std::string line = text("step ", state_.step, " skipped: loss ", outcome.loss, ", gradient norm ",
                            outcome.gradient_norm, where_not_finite(outcome));
    if (outcome.loss_scale)
        line += text("; loss scale ", *outcome.loss_scale, ", from now on ", outcome.next_loss_scale.scale);
    say(line);
}

bool Trainer::in_trouble() const {
    return std::ranges::any_of(state_.skips,
                               [](const auto& skip) { return skip.first == kInARow && skip.second > 0; });
}

std::string Trainer::where_not_finite(const StepOutcome& outcome) const {
    const std::vector<int>& groups = outcome.not_finite;
    const int size = tensor_ranks_ ? tensor_ranks_->size() : 1;
    if (groups.empty() || std::ssize(groups) == data_group_->size()) return {};
    std::string where;
    for (const int group : groups)
        for (int rank = group * size; rank < (group + 1) * size; ++rank)
            where += text(where.empty() ? " on " : " and ", request_.name_of_rank(rank));
    return where + " alone";
}

std::optional<double> Trainer::flops_of(const Batch& batch) const {
    if (!peak_flops_) return std::nullopt;
    const auto samples = static_cast<double>(batch.samples),
               tokens = static_cast<double>(batch.target_tokens);
    return tokens * model_flops_per_token(config_.model, tokens / samples,
                                          static_cast<double>(batch.source_tokens) / samples);
}

void Trainer::start_step(Prefetcher<Batch>& batches, const StopSignal& stop) {
    StartedStep started;
    started.at = Clock::now();
    std::uint64_t flags = stop.requested() ? kStopFlag : 0;
    const Batch batch = batches.next();
    started.after = batch.after;
    started.unread = batch.unread;
    started.flops = flops_of(batch);
    // the others are about to exchange gradients with this rank: they hear of it with the step's scalars
    if (batch.unread) flags |= kUnreadFlag;
    if (lock_ && !lock_->held()) flags |= kLockLostFlag;
    flags |= saving_flags();
    if (time_limit_ && time_limit_->is_nearly_over()) {
        out_of_time_ = time_limit_->reason();
        flags |= kStopFlag;
    }
    const auto step = static_cast<std::int64_t>(state_.step + started_.size());
    patience().set_phase("step", step + 1);
    training_step_->start(batch, step, flags);
    started_.push_back(std::move(started));
}

TrainProgress Trainer::finish_step() {
    const StepOutcome outcome = training_step_->finish();
    const StartedStep started = std::move(started_.front());
    started_.pop_front();
    ++state_.step;
    state_.place = started.after;
    state_.updates = static_cast<std::uint64_t>(outcome.updates);
    // steps overlap where the device works ahead: each is given the time since the last one was told of
    const auto now = Clock::now();
    const double seconds =
        std::chrono::duration<double>(now - std::max(started.at, last_step_ended_)).count();
    last_step_ended_ = now;
    state_.seconds += seconds;
    if (time_limit_) time_limit_->step_took(seconds);
    if ((outcome.flags & kLockLostFlag) != 0)
        together_([&] {
            throw IoError(
                text("train: another process took over ", request_.out, "; this one leaves it alone"));
        });
    look_after_save(outcome.flags);
    if ((outcome.flags & kUnreadFlag) != 0) {
        end_together([&] {
            if (started.unread) std::rethrow_exception(started.unread);
        });
    }
    TrainProgress at;
    at.step = static_cast<std::int64_t>(state_.step);
    at.steps = config_.train.steps;
    at.outcome = outcome;
    at.seconds = seconds;
    if (started.flops) at.utilisation = *started.flops / seconds / *peak_flops_;
    if (is_due(config_.log.hash, state_.step) || (config_.log.hash > 0 && at.step == at.steps))
        at.digests = parameter_digests();
    if (log_ && (at.step % config_.log.every == 0 || outcome.skipped))
        log_->step(at.step, outcome, seconds, at.utilisation,
                   at.digests ? digest_of_all(parameters(), *at.digests) : "");
    if (at.digests) log_hashes(*at.digests);
    count_skip(outcome);
    return at;
}

TrainResult Trainer::run(const StopSignal& stop) {
    const std::unique_ptr<BatchWalk> walk = training_data_->walk(
        state_.place, [this](std::int64_t samples) { return training_step_->own_samples(samples); });
    Prefetcher<Batch> batches([&](std::uint64_t) { return walk->next(); }, 0, kBatchesAhead);
    if (training_step_->tokens_of_a_pass() < 512 && config_.parallel.lanes > 1)
        say(text("a pass has ", training_step_->tokens_of_a_pass(), " tokens (batch over --parallel.lanes ",
                 config_.parallel.lanes, "); fewer lanes run faster and allow fewer ranks"));
    last_save_ = Clock::now();
    TrainResult result;
    double pace = 0.0;
    const auto steps = static_cast<std::uint64_t>(config_.train.steps);
    bool stopped = false;
    // steps in a row that had no finite loss and gradient, when they were too many, and whose they were
    std::uint64_t hopeless = 0;
    std::string hopeless_where;
    bool save_is_due = false;
    // What is due at a step is done even when the run is to stop there: resuming does not make up for it.
    const auto evaluates_at = [&](std::uint64_t step) {
        return validation_data_ && (is_due(config_.eval.every, step) || step == steps);
    };
    const auto saves_at = [&](std::uint64_t step) { return is_due(config_.checkpoint.every.steps, step); };
    const auto finish = [&] {
        TrainProgress at = finish_step();
        stopped |= (at.outcome.flags & kStopFlag) != 0;
        if (at.outcome.skipped && skips(kInARow) >= static_cast<std::uint64_t>(config_.train.max_skipped)) {
            hopeless = skips(kInARow);
            hopeless_where = where_not_finite(at.outcome);
        }
        pace = pace == 0.0 ? at.seconds : 0.95 * pace + 0.05 * at.seconds;
        at.seconds_left = pace * static_cast<double>(steps - state_.step);
        at.last_evaluation = evaluation_;
        if (observer_.step) observer_.step(at);
    };
    // A GPU works on the next step while the host tells of the last one, unless something is due in between,
    // or the host has to carry the gradients.
    const bool by_itself = stream_->device() != Device::cpu &&
                           (gradient_group_ || data_group_->size() == 1) &&
                           (tensor_device_ranks_ || !tensor_ranks_);
    const std::size_t ahead = by_itself ? TrainingStep::kMostUnderWay - 1 : 0;
    clock_.enter(TimeUse::kProductive);
    while (state_.step < steps && !out_of_patience() && !stopped && hopeless == 0) {
        start_step(batches, stop);
        const std::uint64_t step = state_.step + started_.size();
        const bool pause = step == steps || evaluates_at(step) || saves_at(step) ||
                           is_due(config_.checkpoint.audit, step) || is_due(config_.log.hash, step);
        while (started_.size() > (pause ? 0 : ahead)) finish();
        while ((stopped || hopeless > 0 || is_time_to_save_) && !started_.empty()) finish();
        if (!started_.empty()) continue;
        if (is_due(config_.checkpoint.audit, state_.step)) audit();
        if (evaluates_at(state_.step)) evaluate_now();
        save_is_due |= saves_at(state_.step) || is_time_to_save_;
        if (!save_is_due || in_trouble()) continue;
        save();
        save_is_due = false;
    }
    if (out_of_patience())
        say(text("stopped early: ", state_.patience, " evaluations without a better validation loss"));
    if (stopped && state_.step < steps && !out_of_time_.empty()) say("stopped: " + out_of_time_);
    if (hopeless == 0)
        save_last();
    else
        finish_save();  // it may be the newest
    if (hopeless > 0)
        together_([&] {
            throw Error(text("train: ", hopeless, " steps in a row had no finite loss and gradient",
                             hopeless_where, " (--train.max-skipped); ",
                             newest_checkpoint_.empty() ? "there is no checkpoint"
                                                        : "the newest checkpoint is " + newest_checkpoint_));
        });
    result.end =
        stopped && state_.step < steps && !out_of_patience() ? TrainEnd::kStopped : TrainEnd::kFinished;
    result.checkpoint = newest_checkpoint_;
    result.step = static_cast<std::int64_t>(state_.step);
    result.evaluation = evaluation_;
    if (world_.rank() == 0)
        note_end({result.end == TrainEnd::kStopped ? "stopped" : "finished", state_.step, {}, 0});
    return result;
}

}  // namespace skein
