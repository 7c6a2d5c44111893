#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/checkpoint_store.h"
#include "model/base/error.h"
#include "parallel/process_grid.h"
#include "trainer/environment.h"
#include "trainer/memory_plan.h"
#include "trainer/options.h"
#include "trainer/run_rules.h"
#include "trainer/settings.h"
#include "trainer/trainer.h"
#include "trainer/utilisation.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

// Or what may be one. Throws IoError where that cannot be known: a run that is there is not begun anew.
bool holds_checkpoints(const std::string& folder) {
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    if (error == std::errc::no_such_file_or_directory) return false;
    bool found = false;
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const fs::path name = entry->path().filename();
        found |= name.string().starts_with("step-") && name.extension() != ".tmp";
    }
    if (error) throw IoError(text("train: cannot list ", folder, ": ", error.message()));
    return found;
}

}  // namespace

Trainer::Trainer(TrainRequest request, Communicator& world, Together together, TrainObserver observer)
    : request_(std::move(request)),
      world_(world),
      together_(std::move(together)),
      observer_(std::move(observer)) {
    patience().set_phase("loading");
    together_([&] {  // a new run whose options contradict each other leaves nothing behind
        if (!writes() || fs::exists(request_.out)) return;
        validate(effective(request_.config));
        check_tensor_ranks(request_.config.parallel.tensor, world_.size());
    });
    folder_ = open_data_together(request_.data, world_.rank(), together_);
    {
        const Patience::Exemption of_the_lock(patience());  // another's is watched for minutes
        together_([&] { open_out(); });
    }
    bool is_begun = false;  // on rank 0
    together_([&] {
        if (world_.rank() == 0 && writes()) is_begun = holds_checkpoints(request_.out + "/checkpoints");
    });
    std::optional<Checkpoint> from;
    together_([&] { from = find_start(is_begun); });
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
    together_([&] {  // its groups' copies are made by all ranks, so nothing before may fail on one
        training_step_.emplace(config_, *objective_, *stream_,
                               StepGroups(*data_group_, gradient_group_.get(), world_));
    });
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
        training_step_->take_values();
    });
    if (writes() && stream_->device() == Device::cpu)  // elsewhere tensors are copied for it
        together_([&] { plan_saves(); });
    together_([&] { start_log(from); });
}

void Trainer::open_out() {
    if (world_.rank() != 0 || !writes()) return;
    create_folders(FileSystem::real(), request_.out);
    sign_of_life_ = last_sign_of_life(request_.out);
    LockOptions options;
    options.notice = [this](const std::string& line) { say(line); };
    lock_ = RunLock::acquire(request_.out, LockOwner::this_process(), options);
}

// Collective, and throws on all ranks or on none.
std::optional<Checkpoint> Trainer::find_start(bool is_begun) {
    const std::string checkpoints = request_.out + "/checkpoints";
    const Warn warn = [this](const std::string& line) { say(line); };
    if (request_.resume != "auto" && request_.resume != "never")
        return find_checkpoint(world_, request_.resume, warn);
    is_begun = world_.all_reduce_value(std::int64_t{is_begun}, Reduction::kMax) != 0;
    if (!is_begun) return std::nullopt;
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
    if (writes() && !folder_.valid.empty()) {
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
    saving_ = CheckpointStore(
                  request_.out + "/checkpoints", config_.checkpoint.keep,
                  [this](const std::string& line) { say(line); }, *request_.files,
                  [this] { return !lock_ || lock_->advance(); })
                  .background();
    const auto peak = known_peak_flops(device_name(*stream_), config_.train.precision);
    if (peak && !config_.train.tf32)  // the table has no TF32
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
    if (writes() && saved.best && (request_.resume != "auto" || !same_measure)) {
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
    if (!writes()) return;
    is_noted_ = true;
    if (world_.rank() != 0) return;
    time_limit_.emplace(time_limit_of_this_process(config_.train.time_limit));
    const double lost = settle_run_accounts(request_.out, state_.step, sign_of_life_);
    log_.emplace(request_.out, static_cast<std::int64_t>(state_.step),
                 [this](const std::string& line) { say(line); });
    write_file_atomic(FileSystem::real(), request_.out + "/config.ini", write_ini(to_settings(config_)));
    nlohmann::ordered_json line = {{"event", "start"},
                                   {"start", utc_time(std::time(nullptr))},
                                   {"host", LockOwner::this_process().host},
                                   {"step", state_.step},
                                   {"ranks", world_.size()},
                                   {"tensor", state_.grid.tensor},
                                   {"sequence", tensor_ranks_ && config_.parallel.sequence},
                                   {"data", folder_.fingerprint},
                                   {"threads", stream_->threads()},
                                   {"restarts", state_.restarts},
                                   {"restarting", clock_.seconds(TimeUse::kRestarting)}};
    if (lost > 0.0) line["lost"] = lost;
    if (from) {
        line["resumed_from"] = from->folder();
        const RunConfig saved = from_settings(from->manifest().run.configuration);
        for (const ResumeChange& change : compare_for_resume(saved, request_.config, request_.given).notices)
            line["changed"][change.name] = {change.saved, change.wanted};
    }
    append_run_line(request_.out, line.dump());
}

}  // namespace skein
