#include "trainer/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "model/base/error.h"
#include "trainer/environment.h"
#include "trainer/memory_plan.h"
#include "trainer/options.h"
#include "trainer/run_rules.h"
#include "trainer/settings.h"
#include "trainer/utilisation.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatchesAhead = 4;
constexpr std::uint64_t kStopFlag = 1, kLockLostFlag = 2, kUnreadFlag = 4;
constexpr const char* kDataName = "data";
constexpr const char* kNotFinite = "not finite";
constexpr const char* kOverflow = "overflow";
constexpr const char* kInARow = "in a row";

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char buffer[32];
    std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return buffer;
}

}  // namespace

Trainer::Trainer(TrainRequest request, Communicator& world, Together together, TrainObserver observer)
    : request_(std::move(request)),
      world_(world),
      together_(std::move(together)),
      observer_(std::move(observer)) {
    patience().set_phase("loading");
    together_([&] {  // a new run whose options contradict each other leaves nothing behind
        if (!fs::exists(request_.out)) validate(effective(request_.config));
    });
    folder_ = open_data_together(request_.data, world_.rank(), together_);
    {
        const Patience::Exemption of_the_lock(patience());  // another's is watched for minutes
        together_([&] { open_out(); });
    }
    std::optional<Checkpoint> from;
    together_([&] { from = find_start(); });
    together_([&] { settle_config(from); });
    patience().seconds = config_.parallel.timeout;
    together_([&] { agree_on(to_settings(config_)); });
    const RankPlace place = request_.place ? request_.place(config_) : RankPlace{};
    data_group_ = place.data ? place.data : &world_;
    if (place.tensor && place.tensor->size() > 1) tensor_ranks_ = place.tensor;
    together_([&] { configure(from, place); });
    together_([&] { agree_on(state_.leans_on); });
    // not together: ranks that wait in it for one that failed would not come to agree
    if (place.device_group) {
        if (data_group_->size() > 1) gradient_group_ = place.device_group(*stream_, *data_group_);
        if (tensor_ranks_) tensor_device_ranks_ = place.device_group(*stream_, *tensor_ranks_);
    }
    together_([&] { make_model(); });
    std::optional<HostState> state;
    together_([&] {
        if (!from) return;
        state.emplace(host_state());
        state->tensors();  // what may fail on one rank alone, before all load
    });
    together_([&] {
        if (from)
            resume_from(*from, *state);
        else if (!request_.init.empty())
            load_weights(request_.init);
    });
    state.reset();
    together_([&] {
        objective_->model().parameters().refresh_copies(*stream_);
        start_log(from);
    });
}

Trainer::~Trainer() = default;

void Trainer::say(const std::string& line) const {
    if (world_.rank() == 0 && observer_.line) observer_.line(line);
}

void Trainer::open_out() {
    if (world_.rank() != 0) return;
    std::error_code error;
    fs::create_directories(request_.out, error);
    if (error) throw IoError(text("train: cannot make ", request_.out, ": ", error.message()));
    LockOptions options;
    options.notice = [this](const std::string& line) { say(line); };
    lock_ = RunLock::acquire(request_.out, LockOwner::this_process(), options);
}

// Collective, and throws on all ranks or on none.
std::optional<Checkpoint> Trainer::find_start() {
    const std::string checkpoints = request_.out + "/checkpoints";
    const Warn warn = [this](const std::string& line) { say(line); };
    if (request_.resume != "auto" && request_.resume != "never")
        return find_checkpoint(world_, request_.resume, warn);
    bool has_any = false;
    if (world_.rank() == 0) {
        std::error_code ignored;
        for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints, ignored))
            has_any |=
                entry.path().filename().string().starts_with("step-") && entry.path().extension() != ".tmp";
    }
    has_any = world_.all_reduce_value(std::int64_t{has_any}, Reduction::kMax) != 0;
    if (!has_any) return std::nullopt;
    if (request_.resume == "never")
        throw ConfigError(text("--resume: found never, but ", checkpoints,
                               " holds checkpoints; wanted another --out, or remove them"));
    std::optional<Checkpoint> found = newest_checkpoint(world_, checkpoints, warn);
    if (!found)  // never a silent start at step 0 over what was a run
        throw CheckpointError(
            text(checkpoints, ": no checkpoint in it verifies; to start anew, give another --out"));
    return found;
}

// Local to a rank: the configuration that the run goes by.
void Trainer::settle_config(const std::optional<Checkpoint>& from) {
    config_ = effective(request_.config);
    if (from) {
        const RunConfig saved = from_settings(from->manifest().run.configuration);
        const ResumeComparison comparison = compare_for_resume(saved, request_.config, request_.given);
        require_none_refused(comparison);
        config_ = effective(comparison.config);
        for (const ResumeChange& change : comparison.notices)
            say(text("resumed with another ", change.name, ": ", change.saved, " before, ", change.wanted,
                     " now"));
        check_data(from->manifest());
    }
    fit_to_data(config_.model, folder_);
    validate(config_);
}

// Local to a rank: what is made from the configuration.
void Trainer::configure(const std::optional<Checkpoint>& from, const RankPlace& place) {
    training_data_ = open_training_data(folder_, config_);
    if (world_.rank() == 0)  // they cost the plan of a window
        for (const std::string& line : training_data_->notices()) say(line);
    if (!folder_.valid.empty()) {
        validation_data_ =
            open_validation_data(folder_, config_.model, config_.train.long_pairs, config_.eval.samples);
        if (validation_data_->samples() == 0) {
            say(text("no validation: ", folder_.valid_tokens(), " tokens hold no sample (--model.context is ",
                     config_.model.context, ")"));
            validation_data_.reset();
        }
    }
    if (world_.rank() == 0)
        for (const std::string& file : {folder_.tokenizer_file, folder_.source_tokenizer_file}) {
            if (file.empty()) continue;
            const std::string name = fs::path(file).filename().string();
            tokenizer_files_.push_back({name, read_file(folder_.path + "/" + name)});
        }
    check_memory(place);
    stream_.emplace(place.gpu, request_.threads(config_.parallel.threads));
    store_.emplace(request_.out + "/checkpoints", config_.checkpoint.keep,
                   [this](const std::string& line) { say(line); });
    if (const auto peak = known_peak_flops(device_name(*stream_), config_.train.precision))
        peak_flops_ = *peak * world_.size();
    state_.configuration = to_settings(config_);
    state_.leans_on = bits_lean_on(*stream_);
    if (from)
        for (const auto& [name, value] : state_.leans_on)
            if (const std::string before = find_text(from->manifest().run.leans_on, name); before != value)
                say(text("this run's bits may differ from here on: ", name, " was '", before, "', is '",
                         value, "'"));
    state_.leans_on.emplace_back(kDataName, folder_.fingerprint);
    state_.leans_on.emplace_back(kTokenizerName, folder_.header.tokenizer_sha256);
    if (folder_.kind == DataKind::kPairs)
        state_.leans_on.emplace_back(kSourceTokenizerName, folder_.source_header.tokenizer_sha256);
    state_.grid = {static_cast<std::uint64_t>(data_group_->size()),
                   static_cast<std::uint64_t>(tensor_ranks_ ? tensor_ranks_->size() : 1)};
}

void Trainer::make_model() {
    TensorSharing sharing;
    if (tensor_ranks_) {
        sharing.group = &tensor_group_.emplace(tensor_device_ranks_ ? *tensor_device_ranks_ : *tensor_ranks_);
        sharing.sequence = config_.parallel.sequence;
    }
    objective_ = make_objective(*stream_, config_.model, config_.train.seed, sharing);
    training_step_.emplace(config_, *objective_, *stream_,
                           StepGroups(*data_group_, gradient_group_.get(), world_));
}

void Trainer::check_memory(const RankPlace& place) const {
    PlanPlace planned;
    planned.ranks = world_.size();
    planned.device = place.gpu ? Device::cuda : Device::cpu;
    planned.queued = static_cast<bool>(place.device_group);
    planned.program = place.gpu ? 0 : resident_bytes();
    const PlannedRun run(config_, planned, *training_data_, validation_data_.get());
    say(plan_line(run.plan()));
    if (request_.memory > 0)
        run.check_fits(request_.memory, request_.memory_of);
    else if (place.memory > 0)
        run.check_fits(place.memory, place.memory_of);
}

// Replicas stay equal only if every rank computes from the same things.
void Trainer::agree_on(const NamedTexts& texts) {
    std::string mine;
    for (const auto& [name, value] : texts) mine += text(name, "=", value, "\n");
    const std::vector<std::string> all = world_.all_gather_text(mine);
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
        if (all[rank] == all[0]) continue;
        std::size_t at = 0;
        while (at < all[rank].size() && at < all[0].size() && all[rank][at] == all[0][at]) ++at;
        const auto line = [&](const std::string& lines) {
            const std::size_t begin = at == 0 ? 0 : lines.rfind('\n', at - 1) + 1;
            return lines.substr(begin, lines.find('\n', at) - begin);
        };
        throw ConfigError(text("train: rank ", rank, " has ", line(all[rank]), ", rank 0 has ", line(all[0]),
                               "; wanted the same on all ranks, or their replicas would part"));
    }
}

void Trainer::check_data(const Manifest& manifest) {
    check_tokenizers(manifest, folder_);
    const std::string before = find_text(manifest.run.leans_on, kDataName);
    if (before.empty() || before == folder_.fingerprint) return;
    if (!request_.accept_changed_data)
        throw ConfigError(
            text("--data: ", request_.data,
                 " is not the data that this run began with; wanted the same, or --data.changed accept"));
    say("resumed with other data than the run began with");
}

void Trainer::resume_from(const Checkpoint& checkpoint, HostState& state) {
    checkpoint.load(world_, state.tensors());
    state.write_back();
    RunState saved = checkpoint.manifest().run;
    saved.configuration = std::move(state_.configuration);
    saved.leans_on = std::move(state_.leans_on);
    saved.grid = state_.grid;
    const RunConfig before = from_settings(checkpoint.manifest().run.configuration);
    const bool same_precision = before.train.precision == config_.train.precision;
    training_step_->resume(static_cast<std::int64_t>(saved.updates),
                           same_precision ? std::optional(saved.loss_scale) : std::nullopt);
    const bool same_measure =
        find_text(checkpoint.manifest().run.leans_on, kDataName) == folder_.fingerprint &&
        before.eval.samples == config_.eval.samples;
    if (saved.best && (request_.resume != "auto" || !same_measure)) {
        say("the best validation loss so far is not carried over: it is of another folder or other "
            "validation data");
        saved.best.reset();
        saved.patience = 0;
    }
    state_ = std::move(saved);
    ++state_.restarts;
    // A checkpoint is written after the evaluation that was due at its step. Another run's is not saved here.
    if (request_.resume == "auto") saved_step_ = state_.step;
    newest_checkpoint_ = checkpoint.folder();
    say(text("resumed from ", checkpoint.folder(), " at step ", state_.step));
}

void Trainer::load_weights(const std::string& from) {
    const Checkpoint checkpoint =
        find_checkpoint(world_, from, [this](const std::string& line) { say(line); });
    load_parameters(checkpoint, world_, objective_->model().parameters(), *stream_);
    say(text("weights from ", checkpoint.folder()));
}

void Trainer::start_log(const std::optional<Checkpoint>& from) {
    if (world_.rank() != 0) return;
    log_.emplace(request_.out, static_cast<std::int64_t>(state_.step),
                 [this](const std::string& line) { say(line); });
    write_file_atomic(FileSystem::real(), request_.out + "/config.ini", write_ini(to_settings(config_)));
    nlohmann::ordered_json line = {{"start", utc_now()},
                                   {"step", state_.step},
                                   {"ranks", world_.size()},
                                   {"threads", stream_->threads()},
                                   {"restarts", state_.restarts}};
    if (from) {
        line["resumed_from"] = from->folder();
        const RunConfig saved = from_settings(from->manifest().run.configuration);
        for (const ResumeChange& change : compare_for_resume(saved, request_.config, request_.given).notices)
            line["changed"][change.name] = {change.saved, change.wanted};
    }
    append_run_line(request_.out, line.dump());
}

HostState Trainer::host_state() {
    HostState state(*stream_);
    add_training_state(state, objective_->model().parameters(), training_step_->optimizer());
    return state;
}

SaveOutcome Trainer::save() {
    patience().set_phase("saving at step", static_cast<std::int64_t>(state_.step));
    const Patience::Exemption saving(patience());  // disks take their time
    state_.loss_scale = training_step_->loss_scale();
    HostState state = host_state();
    SaveOutcome outcome = store_->save(world_, {state_, state.tensors(), tokenizer_files_});
    if (outcome) {
        saved_step_ = state_.step;
        newest_checkpoint_ = outcome.folder;
        world_.barrier();  // rank 0 still removes older ones
    } else {
        say(text("checkpoint of step ", state_.step, " was not saved: rank ", outcome.failed_rank, ": ",
                 outcome.message));
    }
    return outcome;
}

void Trainer::evaluate_now() {
    const auto step = static_cast<std::int64_t>(state_.step);
    patience().set_phase("evaluation at step", step);
    together_([&] { evaluation_ = evaluate(*objective_, *stream_, *data_group_, *validation_data_); });
    if (log_) log_->evaluation(step, *evaluation_);
    say(text("step ", step, ": validation loss ", evaluation_->loss, ", perplexity ",
             evaluation_->perplexity(), ", accuracy ", evaluation_->accuracy));
    if (!std::isfinite(evaluation_->loss) || (state_.best && state_.best->value <= evaluation_->loss)) {
        ++state_.patience;
        return;
    }
    const std::optional<BestMetric> before =
        std::exchange(state_.best, BestMetric{evaluation_->loss, state_.step});
    const std::uint64_t patience = std::exchange(state_.patience, 0);
    if (!save()) {  // what is not on disk cannot be the best one
        state_.best = before;
        state_.patience = patience;
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
                            outcome.gradient_norm);
    if (outcome.loss_scale)
        line += text("; loss scale ", *outcome.loss_scale, ", from now on ", outcome.next_loss_scale.scale);
    say(line);
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
    if ((outcome.flags & kUnreadFlag) != 0)
        together_([&] {
            if (started.unread) std::rethrow_exception(started.unread);
        });
    if ((outcome.flags & kLockLostFlag) != 0)
        together_([&] {
            throw IoError(
                text("train: another process took over ", request_.out, "; this one leaves it alone"));
        });
    TrainProgress at;
    at.step = static_cast<std::int64_t>(state_.step);
    at.steps = config_.train.steps;
    at.outcome = outcome;
    at.seconds = seconds;
    if (started.flops) at.utilisation = *started.flops / seconds / *peak_flops_;
    if (log_ && (at.step % config_.log.every == 0 || outcome.skipped))
        log_->step(at.step, outcome, seconds, at.utilisation);
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
    TrainResult result;
    double pace = 0.0;
    const auto steps = static_cast<std::uint64_t>(config_.train.steps);
    bool stopped = false;
    std::uint64_t hopeless =
        0;  // steps in a row that had no finite loss and gradient, when they were too many
    // What is due at a step is done even when the run is to stop there: resuming does not make up for it.
    const auto due = [&](std::int64_t every, std::uint64_t step) {
        return every > 0 && step % static_cast<std::uint64_t>(every) == 0;
    };
    const auto evaluates_at = [&](std::uint64_t step) {
        return validation_data_ && (due(config_.eval.every, step) || step == steps);
    };
    const auto finish = [&] {
        TrainProgress at = finish_step();
        stopped |= (at.outcome.flags & kStopFlag) != 0;
        if (at.outcome.skipped && skips(kInARow) >= static_cast<std::uint64_t>(config_.train.max_skipped))
            hopeless = skips(kInARow);
        pace = pace == 0.0 ? at.seconds : 0.95 * pace + 0.05 * at.seconds;
        at.seconds_left = pace * static_cast<double>(steps - state_.step);
        at.last_evaluation = evaluation_;
        if (world_.rank() == 0 && observer_.step) observer_.step(at);
    };
    // A GPU works on the next step while the host tells of the last one, unless something is due in between,
    // or the host has to carry the gradients.
    const bool by_itself = stream_->device() != Device::cpu &&
                           (gradient_group_ || data_group_->size() == 1) &&
                           (tensor_device_ranks_ || !tensor_ranks_);
    const std::size_t ahead = by_itself ? TrainingStep::kMostUnderWay - 1 : 0;
    while (state_.step < steps && !out_of_patience() && !stopped && hopeless == 0) {
        start_step(batches, stop);
        const std::uint64_t step = state_.step + started_.size();
        const bool pause = step == steps || evaluates_at(step) || due(config_.checkpoint.every, step);
        while (started_.size() > (pause ? 0 : ahead)) finish();
        while ((stopped || hopeless > 0) && !started_.empty()) finish();
        if (!started_.empty()) continue;
        if (evaluates_at(state_.step)) evaluate_now();
        if (due(config_.checkpoint.every, state_.step) && saved_step_ != state_.step) save();
    }
    if (out_of_patience())
        say(text("stopped early: ", state_.patience, " evaluations without a better validation loss"));
    if (saved_step_ != state_.step) {
        const SaveOutcome last = save();
        if (!last)
            together_([&] {
                throw IoError(text("train: the last checkpoint could not be saved: rank ", last.failed_rank,
                                   ": ", last.message));
            });
    }
    if (hopeless > 0)
        together_([&] {
            throw Error(text("train: ", hopeless, " steps in a row had no finite loss and gradient ",
                             "(--train.max-skipped); the newest checkpoint is ", newest_checkpoint_));
        });
    result.end =
        stopped && state_.step < steps && !out_of_patience() ? TrainEnd::kStopped : TrainEnd::kFinished;
    result.checkpoint = newest_checkpoint_;
    result.step = static_cast<std::int64_t>(state_.step);
    result.evaluation = evaluation_;
    return result;
}

}  // namespace skein
