#pragma once

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "checkpoint/background_save.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/run_lock.h"
#include "data/data_folder.h"
#include "data/prefetcher.h"
#include "parallel/gradient_transport.h"
#include "parallel/patience.h"
#include "trainer/clock.h"
#include "trainer/evaluation.h"
#include "trainer/model_state.h"
#include "trainer/parameter_digest.h"
#include "trainer/run_accounts.h"
#include "trainer/run_log.h"
#include "trainer/stop_signal.h"
#include "trainer/time_limit.h"
#include "trainer/training_data.h"
#include "trainer/training_step.h"

namespace skein {

/// Where a rank stands and computes, and how what it has on a GPU gets to the others.
struct RankPlace {
    std::optional<Gpu> gpu;  ///< none: on the CPU
    /// What there is of memory for this rank, where TrainRequest gives no limit. 0: not known.
    std::size_t memory = 0;
    std::string memory_of;
    /// Groups of ranks, which must outlive the trainer. data: those that hold the same part of the model,
    /// null: all; tensor: those that hold one model together, null: each rank has the whole.
    Communicator* data = nullptr;
    Communicator* tensor = nullptr;
    DeviceGroup device_group;  ///< null: a GPU's memory goes through the host's
};

/// What `skein train` asks for.
struct TrainRequest {
    RunConfig config;             ///< defaults, preset, file and command line
    std::set<std::string> given;  ///< the options among them that were set, not defaults
    std::string data;             ///< a folder
    std::string out;              ///< the run's folder; empty: nothing is written and nothing evaluated
    std::string resume = "auto";  ///< auto, never, or a checkpoint's or run's folder
    bool accept_changed_data = false;
    std::string init;  ///< a checkpoint's or run's folder to take the weights from; empty: none
    /// For the configuration that the run goes by. Collective, throws on all ranks or on none; unset: on the
    /// CPU.
    std::function<RankPlace(const RunConfig&)> place;
    /// Of the ranks' session: the run's timeout and what it is at. Null: nobody waits for anybody. Must
    /// outlive the run.
    Patience* patience = nullptr;
    /// "rank 3 on b"; unset: without the host.
    std::function<std::string(int rank)> name_of_rank = [](int rank) {
        return "rank " + std::to_string(rank);
    };
    /// The threads of this rank, for --parallel.threads of the configuration that the run goes by.
    std::function<int(int asked)> threads;
    /// Bytes of memory that a rank may take, and what says so: "--device-memory". 0: not known.
    std::size_t memory = 0;
    std::string memory_of;
    /// What checkpoints are written by; must outlive the run.
    FileSystem* files = &FileSystem::real();
};

/// What a step or an evaluation came to, for whoever shows it.
struct TrainProgress {
    std::int64_t step = 0, steps = 0;
    StepOutcome outcome;
    double seconds = 0.0;               ///< of this step
    std::optional<double> utilisation;  ///< see utilisation.h; none where the devices' peak is not known
    double seconds_left = 0.0;          ///< at the recent pace
    std::optional<Evaluation> last_evaluation;
    std::optional<ParameterDigests> digests;  ///< after this step, where --log.hash asks for them
};

struct TrainObserver {
    /// After each step, on every rank that has one; what it throws ends the run.
    std::function<void(const TrainProgress&)> step;
    std::function<void(const std::string&)> line;  ///< something to be said in a line of its own; on rank 0
};

enum class TrainEnd { kFinished, kStopped };

struct TrainResult {
    TrainEnd end = TrainEnd::kFinished;
    std::string checkpoint;  ///< the newest one
    std::int64_t step = 0;
    std::optional<Evaluation> evaluation;
};

/// A training run from its folder and its data to its last checkpoint.
class Trainer {
  public:
    /// Opens data and OUT, resumes or starts. Collective; `together` must throw on all ranks when a part
    /// fails on any. The communicator and the observer's targets must outlive it.
    Trainer(TrainRequest request, Communicator& world, Together together, TrainObserver observer);
    ~Trainer();

    /// Trains until the last step, an early stop or a signal, and saves; not while steps have no finite loss
    /// or gradient, as long as nobody stops it. Throws, by way of `together`, IoError when the last
    /// checkpoint could not be saved or another process took over OUT, ReplicaError when an audit finds that
    /// ranks parted, and Error when too many steps in a row were skipped: then the newest checkpoint is one
    /// from before them.
    TrainResult run(const StopSignal& stop);

    /// That run ended in an error, for OUT/runs.jsonl: on one rank, which may be any, before it is dropped.
    void note_failure(const std::string& line, int code) noexcept;

    /// This rank's part of the model's. Between steps they may be looked at, and by a test be changed.
    ParameterList& parameters() { return objective_->model().parameters(); }
    /// Of the parameters as they are now. Collective.
    ParameterDigests parameter_digests();

  private:
    void open_out();
    /// is_begun: on rank 0, whether OUT holds checkpoints.
    std::optional<Checkpoint> find_start(bool is_begun);
    void settle_config(const std::optional<Checkpoint>& from);
    void configure(const std::optional<Checkpoint>& from, const RankPlace& place);
    void check_memory(const RankPlace& place) const;
    void make_model();
    void check_data(const Manifest& manifest);
    void agree_on(const NamedTexts& texts);
    void resume_from(const Checkpoint& checkpoint, HostState& state);
    void load_weights(const std::string& from);
    void start_log(const std::optional<Checkpoint>& from);
    /// At every so many steps; 0: never.
    static bool is_due(std::int64_t every, std::uint64_t step) {
        return every > 0 && step % static_cast<std::uint64_t>(every) == 0;
    }
    bool out_of_patience() const;
    /// together_, where a failure ends the run: what is being saved is saved first.
    void end_together(const std::function<void()>& part);
    void start_step(Prefetcher<Batch>& batches, const StopSignal& stop);
    /// Tells of the oldest step that was started.
    TrainProgress finish_step();
    /// Of the model, for the whole batch; none where no peak is known to measure them by.
    std::optional<double> flops_of(const Batch& batch) const;
    HostState host_state(const std::vector<bool>& marked = {});
    void note_end(const RunEnd& end);
    /// Whether the last step had no finite loss or gradient: a parameter may be to blame.
    bool in_trouble() const;
    /// " on rank 3 on b alone"; empty: on all ranks, or nobody knows.
    std::string where_not_finite(const StepOutcome& outcome) const;
    bool writes() const { return !request_.out.empty(); }
    /// Ends the run, on all ranks, where data-parallel ranks have other parameters than the others.
    void audit();
    /// Those of what is about to be saved, where they are not there yet.
    void log_hashes();
    void log_hashes(const ParameterDigests& digests);
    void evaluate_now();
    // trainer_save.cpp
    void plan_saves();
    void save();
    void save_last();
    void start_save(bool background);
    std::uint64_t saving_flags();
    void look_after_save(std::uint64_t flags);
    void finish_save();
    void settle_save(const SaveOutcome& outcome);
    void count_skip(const StepOutcome& outcome);
    std::uint64_t& skips(const char* reason);
    void say(const std::string& line) const;
    Patience& patience() { return request_.patience ? *request_.patience : own_patience_; }

    static constexpr std::uint64_t kNoStep = ~std::uint64_t{0};
    struct StartedStep {
        DataPlace after;
        std::exception_ptr unread;
        std::optional<double> flops;
        std::chrono::steady_clock::time_point at;
    };

    TrainRequest request_;
    Patience own_patience_;
    Communicator& world_;
    Together together_;
    TrainObserver observer_;
    RunConfig config_;  ///< effective
    std::optional<Stream> stream_;
    DataFolder folder_;
    std::vector<SideFile> tokenizer_files_;
    std::optional<RunLock> lock_;
    std::unique_ptr<TrainingData> training_data_;
    std::unique_ptr<ValidationData> validation_data_;  ///< null: none
    Communicator* data_group_ = nullptr;
    Communicator* tensor_ranks_ = nullptr;  ///< null: each rank has the whole model
    std::unique_ptr<Communicator> gradient_group_,
        tensor_device_ranks_;  ///< of GPUs; null: the host's are used
    std::optional<TensorGroup> tensor_group_;
    std::unique_ptr<Objective> objective_;
    std::optional<TrainingStep> training_step_;
    std::optional<RunLog> log_;
    std::vector<SharePiece> shares_;        ///< who writes what; none: not agreed on yet
    std::vector<bool> written_;             ///< by this rank, some of each of these tensors
    std::optional<Staging> staging_;        ///< of saves in the background, on the CPU
    std::optional<HostState> saving_from_;  ///< what is being saved, on a GPU
    std::unique_ptr<BackgroundSave> saving_;
    std::uint64_t saving_step_ = 0;
    /// Best and patience before the evaluation whose checkpoint is being saved.
    std::optional<std::pair<std::optional<BestMetric>, std::uint64_t>> before_best_;
    std::string why_not_saved_;
    bool is_time_to_save_ = false;
    std::chrono::steady_clock::time_point last_save_{};
    std::optional<TimeLimit> time_limit_;  ///< rank 0 has it
    std::string out_of_time_;              ///< why the run stops, when it does for that
    std::deque<StartedStep> started_;
    std::chrono::steady_clock::time_point last_step_ended_{};
    std::optional<double> peak_flops_;  ///< a second, of all devices
    RunState state_;
    RunClock clock_{age_of_this_process()};
    double sign_of_life_ = 0.0;  ///< of the start before this one
    bool is_noted_ = false;      ///< a line in runs.jsonl waits for its end
    std::uint64_t saved_step_ = kNoStep, hashed_step_ = kNoStep, audited_step_ = kNoStep;
    std::string newest_checkpoint_;
    std::optional<Evaluation> evaluation_;
};

}  // namespace skein
