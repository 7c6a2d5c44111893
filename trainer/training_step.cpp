#include "trainer/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "model/base/error.h"
#include "model/kernels/work.h"
#include "model/tensor/memory.h"
#include "parallel/gather_slices.h"

namespace skein {
namespace {

/// Room for a T in the device's memory.
template <class T>
Tensor room_for(Stream& stream) {
    static_assert(sizeof(T) % 8 == 0);
    return Tensor::empty(stream, DType::i64, {sizeof(T) / 8});
}

/// A message of MPI's costs some microseconds, an operation of NCCL's some tens of them, of the host's time.
constexpr double kMegabytesOverMpi = 1.0, kMegabytesOverNccl = 32.0;

GradientSyncOptions sync_options(const ParallelSection& parallel, int ranks, bool over_nccl) {
    double megabytes = parallel.bucket_megabytes;
    if (megabytes == 0.0) megabytes = over_nccl ? kMegabytesOverNccl : kMegabytesOverMpi;
    GradientSyncOptions options;
    options.lanes = parallel.lanes;
    options.bucket_bytes = static_cast<std::size_t>(megabytes * 1048576.0);
    options.overlap = parallel.overlap;
    options.reduction = parallel.reduction;
    options.sharded = parallel.zero > 0 && ranks > 1;
    return options;
}

LossScaleRule loss_scale_rule(const TrainSection& train) {
    return {train.loss_scale_growth, train.loss_scale_backoff,
            static_cast<std::uint64_t>(train.loss_scale_interval),
            static_cast<std::uint64_t>(train.loss_scale_hysteresis)};
}

}  // namespace

TrainingStep::TrainingStep(const RunConfig& config, Objective& objective, Stream& stream,
                           const StepGroups& groups)
    : config_(config),
      objective_(objective),
      stream_(stream),
      data_(groups.data),
      gradients_(groups.gradients),
      world_(groups.world),
      tensor_(objective.model().sharing().group),
      sync_(gradients_ ? *gradients_ : data_, objective.model().parameters(), stream,
            sync_options(config.parallel, data_.size(), gradients_ != nullptr)),
      update_(config.optimizer, objective.model().parameters(), stream, sync_, data_, gradients_),
      schedule_(config.schedule, config.schedule.horizon, config.model.width) {
    if (config.train.tf32) stream.allow_tf32();
    objective.model().parameters().keep_copies(stream, dtype_of(config.train.precision));
    state_ = room_for<kernels::UpdateState>(stream);
    resume(0, std::nullopt);
    if (tensor_) count_blocks();
}

// A parameter that every rank has counts on the first.
void TrainingStep::count_blocks() {
    const ParameterList& parameters = objective_.model().parameters();
    std::vector<std::int32_t> counted;
    std::int32_t block = 0;
    for (int rank = 0; rank < tensor_->size(); ++rank) {
        const std::int32_t first = block;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const Layout layout = parameters[i].layout.of_part(rank);
            const std::int64_t elements = layout.local(parameters[i].global_shape).elements();
            for (std::int64_t k = 0; k < kernels::norm_blocks(elements); ++k, ++block)
                if (rank == 0 || layout.is_split()) counted.push_back(block);
        }
        norm_blocks_.push_back(block - first);
    }
    counted_blocks_ = Tensor::from<std::int32_t>(stream_, {std::ssize(counted)}, counted);
}

Tensor TrainingStep::square_sums() {
    const Tensor own = update_.square_sums();
    if (!tensor_) return own;
    const Tensor all = tensor_->all_gather(stream_, own, norm_blocks_);
    return chosen_elements(stream_, all, counted_blocks_);
}

void TrainingStep::set_state(const kernels::UpdateState& state) {
    known_ = state;
    assign_bytes(stream_, state_, std::as_bytes(std::span(&state, 1)));
}

void TrainingStep::resume(std::int64_t updates, const std::optional<LossScaleState>& loss_scale) {
    kernels::UpdateState state;
    state.updates = updates;
    if (loss_scale)
        state.loss_scale = *loss_scale;
    else if (config_.train.precision == Precision::kFp16)
        state.loss_scale.scale = config_.train.loss_scale_start;
    state.gradient_scale = static_cast<float>(state.loss_scale.scale);
    set_state(state);
}

SampleRange TrainingStep::samples_of(LaneRange lanes, std::int64_t samples) const {
    return {sync_.lanes().samples(lanes.begin, samples).begin,
            sync_.lanes().samples(lanes.end - 1, samples).end};
}

std::int64_t TrainingStep::tokens_of_a_pass() const {
    const TrainSection& train = config_.train;
    const auto of_a_lane = [&](std::int64_t whole) {
        return (whole + config_.parallel.lanes - 1) / config_.parallel.lanes;
    };
    std::int64_t samples = of_a_lane(train.batch);
    if (train.micro_batch > 0) samples = std::min(samples, train.micro_batch);
    const std::int64_t tokens =
        train.batch_tokens > 0 ? of_a_lane(train.batch_tokens) : samples * config_.model.context;
    return train.micro_batch_tokens > 0 ? std::min(tokens, train.micro_batch_tokens) : tokens;
}

void TrainingStep::run_lane(int lane, const Batch& batch, std::int64_t step, const Tensor& losses) {
    const SampleRange samples = sync_.lanes().samples(lane, batch.samples);
    if (samples.begin == samples.end) {
        sync_.empty_lane(lane);
        return;
    }
    sync_.begin_lane(lane);
    LossOptions options;
    options.label_smoothing = config_.train.label_smoothing;
    options.gradient_scale = 1.0 / static_cast<double>(batch.target_tokens);
    if (config_.train.precision == Precision::kFp16)
        options.device_scale = &reinterpret_cast<const kernels::UpdateState*>(state_.raw())->gradient_scale;
    for (SampleRange pass{samples.begin, samples.begin}; pass.end < samples.end;) {
        pass = next_pass(batch, pass.end, samples.end, config_.train.micro_batch,
                         config_.train.micro_batch_tokens);
        PassContext place;
        place.seed = config_.train.seed;
        place.step = static_cast<std::uint64_t>(step);
        place.first_sample = pass.begin;
        place.training = true;
        place.recompute = config_.train.recompute;

        Tape tape(stream_);
        tape.after_op = [this] { sync_.poll(); };
        if (pass.end == samples.end)
            tape.on_leaf_final = [this](Leaf& leaf) {
                if (leaf.partial && tensor_) tensor_->all_reduce(stream_, leaf.gradient);
                sync_.ready(leaf);
            };
        const LossSums sums = objective_.loss(tape, batch, pass, place, options);
        stream_.run(copy_work(sums.loss.bytes()), [&](auto& s) {
            copy_memory(s, sums.loss.raw(), losses.data<double>() + pass.begin, sums.loss.bytes());
        });
        tape.backward(sums.root);
    }
}

Pending TrainingStep::gather(const Tensor& losses) {
    std::vector<std::int64_t> begins;  // each rank's samples lie side by side
    for (int rank = 0; rank < data_.size(); ++rank)
        begins.push_back(samples_of(sync_.lanes().of_rank(rank), losses.elements()).begin);
    begins.push_back(losses.elements());
    return gather_slices(stream_, data_, gradients_, losses, begins);
}

std::vector<int> TrainingStep::ranks_not_finite(const Tensor& losses) const {
    const Tensor host = on_host(stream_, losses);
    const std::span<const double> all = host.span<double>();
    std::vector<int> out;
    for (int rank = 0; rank < data_.size(); ++rank) {
        const SampleRange own = samples_of(sync_.lanes().of_rank(rank), losses.elements());
        if (!std::all_of(all.begin() + own.begin, all.begin() + own.end,
                         [](double loss) { return std::isfinite(loss); }))
            out.push_back(rank);
    }
    return out;
}

kernels::EndStepArgs TrainingStep::end_args(const Batch& batch) const {
    kernels::EndStepArgs args;
    args.samples = batch.samples;
    args.tokens = batch.target_tokens;
    args.clip = config_.train.clip;
    args.scales_loss = config_.train.precision == Precision::kFp16;
    args.rule = loss_scale_rule(config_.train);
    args.first_update = known_.updates + 1;
    for (int i = 0; i < kernels::kUpdatesAhead; ++i) {
        args.rate[i] = static_cast<float>(schedule_.rate(args.first_update + i));
        args.correction1[i] = optimizer().correction1(args.first_update + i);
        args.correction2[i] = optimizer().correction2(args.first_update + i);
    }
    return args;
}

void TrainingStep::start(const Batch& batch, std::int64_t step, std::uint64_t flags) {
    if (under_way_.size() >= kMostUnderWay)
        throw Error(
            text("training step: ", under_way_.size(), " steps are under way, at most ", kMostUnderWay));
    UnderWay& now = *under_way_.emplace_back(std::make_unique<UnderWay>());
    now.outcome.tokens = batch.target_tokens;
    now.outcome.samples = batch.samples;
    now.flags.resize(static_cast<std::size_t>(world_.size()));
    std::vector<std::span<std::byte>> flag_parts;
    for (std::uint64_t& of_rank : now.flags)
        flag_parts.push_back(std::as_writable_bytes(std::span(&of_rank, 1)));
    now.flags[static_cast<std::size_t>(world_.rank())] = flags;

    const Tensor losses = Tensor::empty(stream_, DType::f64, {batch.samples});
    update_.take_values();
    sync_.begin_step();
    if (tensor_) tensor_->forget_bytes();
    for (int lane = sync_.own_lanes().begin; lane < sync_.own_lanes().end; ++lane)
        run_lane(lane, batch, step, losses);
    sync_.backward_ended();
    sync_.finish();
    now.flags_come = world_.start_all_gather(flag_parts[static_cast<std::size_t>(world_.rank())], flag_parts);
    now.losses = losses;
    now.losses_come = gather(losses);

    const Tensor sums = square_sums(), end = room_for<kernels::StepEnd>(stream_);
    if (tensor_) {
        now.outcome.tensor_bytes_sent = tensor_->bytes_sent();
        now.tensor_comes = tensor_->take_last();
    }
    kernels::EndStepArgs args = end_args(batch);
    args.losses = losses.data<double>();
    args.square_sums = sums.data<double>();
    args.blocks = sums.elements();
    args.state = reinterpret_cast<kernels::UpdateState*>(state_.raw());
    args.end = reinterpret_cast<kernels::StepEnd*>(end.raw());
    stream_.run(work_of(args), [&](auto& s) { kernels::end_step(s, args); });
    now.parameters_come = update_.step(args.end);
    now.outcome.sync = sync_.statistics();
    now.end = start_on_host(stream_, end);
    now.ended.record(stream_);
}

StepOutcome TrainingStep::finish() {
    if (under_way_.empty()) throw Error("training step: no step is under way");
    UnderWay& oldest = *under_way_.front();
    // before any other wait: they end when a rank does not come
    oldest.tensor_comes.wait_on_host();
    oldest.losses_come.wait_on_host();
    oldest.parameters_come.wait_on_host();
    oldest.flags_come.wait();
    oldest.ended.wait();
    kernels::StepEnd end;
    std::memcpy(&end, oldest.end.raw_span().data(), sizeof end);
    known_ = end.after;

    StepOutcome outcome = std::move(oldest.outcome);
    for (const std::uint64_t flags : oldest.flags) outcome.flags |= flags;
    outcome.loss = end.loss;
    outcome.gradient_norm = end.norm;
    outcome.learning_rate = schedule_.rate(end.before.updates + 1);
    outcome.skipped = end.skipped != 0;
    if (outcome.skipped) outcome.not_finite = ranks_not_finite(oldest.losses);
    outcome.updates = end.after.updates;
    outcome.next_loss_scale = end.after.loss_scale;
    if (config_.train.precision == Precision::kFp16) {
        outcome.loss_scale = end.before.loss_scale.scale;
        outcome.overflow = outcome.skipped && end.before.loss_scale.scale > kLeastLossScale;
    }
    under_way_.pop_front();
    return outcome;
}

StepOutcome TrainingStep::run(const Batch& batch, std::int64_t step, std::uint64_t flags) {
    start(batch, step, flags);
    return finish();
}

}  // namespace skein
