#include "trainer/training_step.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace skein {
namespace {

GradientSyncOptions sync_options(const ParallelSection& parallel) {
    GradientSyncOptions options;
    options.lanes = parallel.lanes;
    options.bucket_bytes = static_cast<std::size_t>(parallel.bucket_megabytes * 1048576.0);
    options.overlap = parallel.overlap;
    options.reduction = parallel.reduction;
    return options;
}

}  // namespace

TrainingStep::TrainingStep(const RunConfig& config, Objective& objective, Stream& stream, Communicator& data)
    : config_(config),
      objective_(objective),
      stream_(stream),
      data_(data),
      sync_(data, objective.model().parameters(), stream, sync_options(config.parallel)),
      optimizer_(config.optimizer, objective.model().parameters(), stream),
      schedule_(config.schedule, config.schedule.horizon, config.model.width) {}

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

void TrainingStep::run_lane(int lane, const Batch& batch, std::int64_t step, double* losses) {
    const SampleRange samples = sync_.lanes().samples(lane, batch.samples);
    if (samples.begin == samples.end) {
        sync_.empty_lane(lane);
        return;
    }
    sync_.begin_lane(lane);
    LossOptions options;
    options.label_smoothing = config_.train.label_smoothing;
    options.gradient_scale = 1.0 / static_cast<double>(batch.target_tokens);
    for (SampleRange pass{samples.begin, samples.begin}; pass.end < samples.end;) {
        pass = next_pass(batch, pass.end, samples.end, config_.train.micro_batch,
                         config_.train.micro_batch_tokens);
        PassContext place;
        place.seed = config_.train.seed;
        place.step = static_cast<std::uint64_t>(step);
        place.first_sample = pass.begin;
        place.training = true;

        Tape tape(stream_);
        tape.after_op = [this] { sync_.poll(); };
        if (pass.end == samples.end) tape.on_leaf_final = [this](Leaf& leaf) { sync_.ready(leaf); };
        const LossSums sums = objective_.loss(tape, batch, pass, place, options);
        std::ranges::copy(sums.loss.span<double>(), losses + (pass.begin - batch.own.begin));
        tape.backward(sums.root);
    }
}

double TrainingStep::gather(std::int64_t samples, std::vector<double>& losses, std::uint64_t& flags) {
    // each rank's samples lie side by side, so the global batch's losses are the ranks' one after the other
    std::vector<std::uint64_t> all_flags(static_cast<std::size_t>(data_.size()));
    std::vector<double> all(static_cast<std::size_t>(samples));
    std::vector<std::span<std::byte>> flag_parts, loss_parts;
    for (int rank = 0; rank < data_.size(); ++rank) {
        const SampleRange of_rank = samples_of(sync_.lanes().of_rank(rank), samples);
        flag_parts.push_back(
            std::as_writable_bytes(std::span(all_flags).subspan(static_cast<std::size_t>(rank), 1)));
        loss_parts.push_back(std::as_writable_bytes(std::span(all).subspan(
            static_cast<std::size_t>(of_rank.begin), static_cast<std::size_t>(of_rank.end - of_rank.begin))));
    }
    Pending flags_under_way = data_.start_all_gather(std::as_bytes(std::span(&flags, 1)), flag_parts);
    data_.all_gather(std::as_bytes(std::span(losses)), loss_parts);
    flags_under_way.wait();
    std::uint64_t any = 0;
    for (const std::uint64_t rank_flags : all_flags) any |= rank_flags;
    flags = any;
    double total = 0.0;
    for (const double loss : all) total += loss;
    return total;
}

StepOutcome TrainingStep::run(const Batch& batch, std::int64_t step, std::int64_t update,
                              std::uint64_t flags) {
    StepOutcome outcome;
    outcome.tokens = batch.target_tokens;
    outcome.samples = batch.samples;
    outcome.learning_rate = schedule_.rate(update);
    outcome.flags = flags;
    std::vector<double> losses(static_cast<std::size_t>(batch.own.end - batch.own.begin));

    sync_.begin_step();
    for (int lane = sync_.own_lanes().begin; lane < sync_.own_lanes().end; ++lane)
        run_lane(lane, batch, step, losses.data());
    sync_.backward_ended();
    sync_.finish();
    outcome.sync = sync_.statistics();

    outcome.loss = gather(batch.samples, losses, outcome.flags) / static_cast<double>(outcome.tokens);
    ParameterList& parameters = objective_.model().parameters();
    outcome.gradient_norm = gradient_norm(parameters, stream_);
    outcome.skipped = !std::isfinite(outcome.loss) || !std::isfinite(outcome.gradient_norm);
    if (!outcome.skipped) {
        const double clip = config_.train.clip;
        const double scale = clip > 0.0 && outcome.gradient_norm > clip ? clip / outcome.gradient_norm : 1.0;
        optimizer_.step(update, outcome.learning_rate, scale);
    }
    return outcome;
}

}  // namespace skein
