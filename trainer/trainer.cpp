#include "trainer/trainer.h"

#include <chrono>
#include <cmath>
#include <ctime>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "model/base/error.h"
#include "trainer/environment.h"
#include "trainer/options.h"
#include "trainer/run_rules.h"
#include "trainer/settings.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatchesAhead = 4;
constexpr std::uint64_t kStopFlag = 1, kUnreadFlag = 2;
constexpr const char* kDataName = "data";

std::string find_text(const NamedTexts& texts, const std::string& name) {
    for (const auto& [key, value] : texts)
        if (key == name) return value;
    return "";
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char buffer[32];
    std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return buffer;
}

}  // namespace

Trainer::Trainer(TrainRequest request, Communicator& world, Communicator& data, const Together& together,
                 TrainObserver observer)
    : together_(together),
      request_(std::move(request)),
      world_(world),
      data_group_(data),
      observer_(std::move(observer)),
      stream_(request_.threads) {
    together([&] { folder_ = open_data_folder(request_.data); });
    together([&] { open_out(); });
    start(together);
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

void Trainer::start(const Together& together) {
    const std::string checkpoints = request_.out + "/checkpoints";
    const Warn warn = [this](const std::string& line) { say(line); };
    std::optional<Checkpoint> from;
    together([&] {
        if (request_.resume == "auto") {
            from = newest_checkpoint(world_, checkpoints, warn);
        } else if (request_.resume != "never") {
            from = find_checkpoint(world_, request_.resume, warn);
        } else if (!list_checkpoints(checkpoints, {}).empty()) {
            throw ConfigError(text("--resume: found never, but ", checkpoints,
                                   " holds checkpoints; wanted another --out, or remove them"));
        }
    });

    together([&] {
        config_ = effective(request_.config);
        if (from) {
            const RunConfig saved = from_settings(from->manifest().run.configuration);
            const ResumeComparison comparison = compare_for_resume(saved, request_.config, request_.given);
            require_none_refused(comparison);
            config_ = effective(comparison.config);
            for (const ResumeChange& change : comparison.notices)
                say(text("resumed with another ", change.name, ": ", change.saved, " before, ", change.wanted, " now"));
            check_data(from->manifest());
        }
        if (config_.model.vocabulary == 0) config_.model.vocabulary = folder_.header.vocab_size;
        if (config_.model.vocabulary != folder_.header.vocab_size)
            throw DataError(text("--data: ", request_.data, " has a vocabulary of ", folder_.header.vocab_size,
                                 ", the model's is ", config_.model.vocabulary));
        validate(config_);
        train_tokens_.emplace(folder_.path, folder_.train, folder_.header);
        if (!folder_.valid.empty()) valid_tokens_.emplace(folder_.path, folder_.valid, folder_.header);
        sampler_.emplace(train_tokens_->tokens(), static_cast<std::uint64_t>(config_.model.context), config_.train.seed);
        if (world_.rank() == 0 && !folder_.tokenizer_file.empty())
            tokenizer_files_.push_back({fs::path(folder_.tokenizer_file).filename().string(),
                                        read_file((fs::path(folder_.path) / fs::path(folder_.tokenizer_file).filename()).string())});
        model_.emplace(stream_, config_.model, config_.train.seed);
        training_step_.emplace(config_, *model_, stream_, data_group_);
        store_.emplace(checkpoints, config_.checkpoint.keep, warn);
    });
    together([&] {
        if (from)
            resume_from(*from);
        else if (!request_.init.empty())
            load_weights(request_.init);
    });
    state_.configuration = to_settings(config_);
    state_.leans_on = bits_lean_on();
    if (from)
        for (const auto& [name, value] : state_.leans_on)
            if (const std::string before = find_text(from->manifest().run.leans_on, name); before != value)
                say(text("this run's bits may differ from here on: ", name, " was '", before, "', is '", value, "'"));
    state_.leans_on.emplace_back(kDataName, folder_.fingerprint);
    state_.grid = {static_cast<std::uint64_t>(data_group_.size()), static_cast<std::uint64_t>(config_.parallel.tensor)};
    first_of_batch_0_ = consumed_;
    together([&] { start_log(from); });
}

void Trainer::check_data(const Manifest& manifest) {
    const std::string before = find_text(manifest.run.leans_on, kDataName);
    if (before.empty() || before == folder_.fingerprint) return;
    if (!request_.accept_changed_data)
        throw ConfigError(text("--data: ", request_.data,
                               " is not the data that this run began with; wanted the same, or --data.changed accept"));
    say("resumed with other data than the run began with");
}

void Trainer::resume_from(const Checkpoint& checkpoint) {
    checkpoint.load(world_, state_tensors());
    state_ = checkpoint.manifest().run;
    ++state_.restarts;
    consumed_ = sampler_->sample({state_.place.epoch, state_.place.window});
    saved_step_ = state_.step;
    newest_checkpoint_ = checkpoint.folder();
    say(text("resumed from ", checkpoint.folder(), " at step ", state_.step));
}

void Trainer::load_weights(const std::string& from) {
    const Checkpoint checkpoint = find_checkpoint(world_, from, [this](const std::string& line) { say(line); });
    checkpoint.load(world_, parameter_tensors(model_->parameters()), kParametersPrefix);
    say(text("weights from ", checkpoint.folder()));
}

void Trainer::start_log(const std::optional<Checkpoint>& from) {
    if (world_.rank() != 0) return;
    log_.emplace(request_.out, static_cast<std::int64_t>(state_.step), static_cast<std::int64_t>(state_.evaluated),
                 [this](const std::string& line) { say(line); });
    write_file_atomic(FileSystem::real(), request_.out + "/config.ini", write_ini(to_settings(config_)));
    nlohmann::ordered_json line = {{"start", utc_now()},
                                   {"step", state_.step},
                                   {"ranks", world_.size()},
                                   {"threads", request_.threads},
                                   {"restarts", state_.restarts}};
    if (from) {
        line["resumed_from"] = from->folder();
        const RunConfig saved = from_settings(from->manifest().run.configuration);
        for (const ResumeChange& change : compare_for_resume(saved, request_.config, request_.given).notices)
            line["changed"][change.name] = {change.saved, change.wanted};
    }
    append_run_line(request_.out, line.dump());
}

std::vector<StateTensor> Trainer::state_tensors() {
    ParameterList& parameters = model_->parameters();
    std::vector<StateTensor> tensors = parameter_tensors(parameters);
    const auto add = [&](const char* prefix, std::size_t i, const Tensor& tensor) {
        tensors.push_back({prefix + parameters[i].name, tensor.dtype(), parameters[i].global_shape, parameters[i].layout,
                           tensor.raw_span()});
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) add("moment1/", i, training_step_->optimizer().moment1(i));
    for (std::size_t i = 0; i < parameters.size(); ++i) add("moment2/", i, training_step_->optimizer().moment2(i));
    return tensors;
}

SaveOutcome Trainer::save() {
    const Cursor cursor = sampler_->cursor(consumed_);
    state_.place = {cursor.epoch, cursor.window, 0};
    SaveOutcome outcome = store_->save(world_, {state_, state_tensors(), tokenizer_files_});
    if (outcome) {
        saved_step_ = state_.step;
        newest_checkpoint_ = outcome.folder;
    } else {
        say(text("checkpoint of step ", state_.step, " was not saved: rank ", outcome.failed_rank, ": ",
                 outcome.message));
    }
    return outcome;
}

bool Trainer::is_enough() const {
    return config_.eval.patience > 0 && state_.patience >= static_cast<std::uint64_t>(config_.eval.patience);
}

/// At every eval.every-th step and the last one, once. A run that was stopped before it makes up for it, so that early
/// stopping and the best checkpoint do not depend on stops.
bool Trainer::evaluation_is_due() const {
    const auto every = static_cast<std::uint64_t>(config_.eval.every);
    const auto steps = static_cast<std::uint64_t>(config_.train.steps);
    return valid_tokens_ && state_.evaluated != state_.step &&
           (state_.step == steps || (every > 0 && state_.step % every == 0));
}

/// True when that is enough: --eval.patience.
bool Trainer::evaluate_now() {
    state_.evaluated = state_.step;
    saved_step_ = ~std::uint64_t{0};
    together_([&] { evaluation_ = evaluate(*model_, stream_, data_group_, *valid_tokens_, config_.eval.windows); });
    const auto step = static_cast<std::int64_t>(state_.step);
    if (log_) log_->evaluation(step, *evaluation_);
    say(text("step ", step, ": validation loss ", evaluation_->loss, ", perplexity ", evaluation_->perplexity(),
             ", accuracy ", evaluation_->accuracy));
    if (!std::isfinite(evaluation_->loss) || (state_.best && state_.best->value <= evaluation_->loss)) {
        ++state_.patience;
        return is_enough();
    }
    const std::optional<BestMetric> before = std::exchange(state_.best, BestMetric{evaluation_->loss, state_.step});
    const std::uint64_t patience = std::exchange(state_.patience, 0);
    if (!save()) {  // what is not on disk cannot be the best one
        state_.best = before;
        state_.patience = patience;
    }
    return false;
}

void Trainer::count_skip(const StepOutcome& outcome) {
    if (!outcome.skipped) {
        skipped_in_a_row_ = 0;
        return;
    }
    for (auto& [reason, count] : state_.skips)
        if (reason == "not finite") ++count;
    if (state_.skips.empty()) state_.skips.emplace_back("not finite", 1);
    say(text("step ", state_.step, " skipped: loss ", outcome.loss, ", gradient norm ", outcome.gradient_norm));
    if (++skipped_in_a_row_ >= config_.train.max_skipped)
        throw Error(text("train: ", skipped_in_a_row_, " steps in a row had no finite loss and gradient (",
                         "--train.max-skipped); the newest checkpoint is ",
                         newest_checkpoint_.empty() ? "none" : newest_checkpoint_));
}

TokenBatch Trainer::read_own(std::uint64_t batch) const {
    const SampleRange own = training_step_->own_samples();
    return read_samples(*train_tokens_, *sampler_,
                        first_of_batch_0_ + batch * static_cast<std::uint64_t>(config_.train.batch) +
                            static_cast<std::uint64_t>(own.begin),
                        static_cast<std::uint64_t>(own.end - own.begin));
}

TokenBatch Trainer::blank_batch() const {
    const SampleRange own = training_step_->own_samples();
    TokenBatch blank;
    blank.context = static_cast<std::uint64_t>(config_.model.context);
    blank.inputs.resize(static_cast<std::size_t>((own.end - own.begin) * config_.model.context));
    blank.targets = blank.inputs;
    return blank;
}

TrainResult Trainer::run() {
    Prefetcher batches([this](std::uint64_t batch) { return read_own(batch); }, 0, kBatchesAhead);
    if (training_step_->rows_of_a_pass() < 512 && config_.parallel.lanes > 1)
        say(text("a pass has ", training_step_->rows_of_a_pass(), " tokens (batch over --parallel.lanes ",
                 config_.parallel.lanes, "); fewer lanes run faster and allow fewer ranks"));
    TrainResult result;
    double pace = 0.0;
    bool enough = is_enough() || (evaluation_is_due() && evaluate_now());
    const auto steps = static_cast<std::uint64_t>(config_.train.steps);
    while (state_.step < steps && !enough) {
        const auto start = Clock::now();
        std::uint64_t flags = stop_.requested() || (lock_ && !lock_->held()) ? kStopFlag : 0;
        TokenBatch batch;
        std::exception_ptr unread;
        try {
            batch = batches.next();
        } catch (...) {  // the others are about to exchange gradients with this rank: they are told with the step's scalars
            unread = std::current_exception();
            batch = blank_batch();
            flags |= kUnreadFlag;
        }
        const StepOutcome outcome =
            training_step_->run(batch, static_cast<std::int64_t>(state_.step),
                                static_cast<std::int64_t>(state_.updates) + 1, flags);
        if ((outcome.flags & kUnreadFlag) != 0)  // what this step came to is never saved
            together_([&] {
                if (unread) std::rethrow_exception(unread);
            });
        ++state_.step;
        consumed_ += static_cast<std::uint64_t>(config_.train.batch);
        if (!outcome.skipped) ++state_.updates;
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        state_.seconds += seconds;
        pace = pace == 0.0 ? seconds : 0.95 * pace + 0.05 * seconds;
        const auto step = static_cast<std::int64_t>(state_.step);
        if (log_ && (step % config_.log.every == 0 || outcome.skipped)) log_->step(step, outcome, seconds);
        if (world_.rank() == 0 && observer_.step)
            observer_.step({step, config_.train.steps, outcome, seconds,
                            pace * static_cast<double>(steps - state_.step), evaluation_});
        count_skip(outcome);
        if ((outcome.flags & kStopFlag) != 0) {
            result.end = TrainEnd::kStopped;
            break;
        }
        if (evaluation_is_due()) enough = evaluate_now();
        const bool save_is_due = config_.checkpoint.every > 0 && step % config_.checkpoint.every == 0;
        if (save_is_due && saved_step_ != state_.step) save();
    }
    if (enough) say(text("stopped early: ", state_.patience, " evaluations without a better validation loss"));
    if (saved_step_ != state_.step) {
        const SaveOutcome last = save();
        if (!last)
            throw IoError(text("train: the last checkpoint could not be saved: rank ", last.failed_rank, ": ",
                               last.message));
    }
    result.checkpoint = newest_checkpoint_;
    result.step = static_cast<std::int64_t>(state_.step);
    result.evaluation = evaluation_;
    return result;
}

}  // namespace skein
