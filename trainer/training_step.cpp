#include "trainer/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

namespace skein {
namespace {

GradientSyncOptions sync_options(const ParallelSection& parallel) {
    GradientSyncOptions options;
    options.lanes = parallel.lanes;
    options.bucket_bytes = static_cast<std::size_t>(parallel.bucket_megabytes * 1048576.0);
    options.overlap = parallel.overlap;
    options.reduction =
        parallel.reduction == ReductionKind::kFast ? GradientReduction::kFast : GradientReduction::kLanes;
    return options;
}

}  // namespace

TrainingStep::TrainingStep(const RunConfig& config, Transformer& model, Stream& stream, Communicator& data)
    : config_(config),
      model_(model),
      stream_(stream),
      data_(data),
      sync_(data, model.parameters(), stream, sync_options(config.parallel)),
      optimizer_(config.optimizer, model.parameters(), stream),
      schedule_(config.schedule, config.schedule.horizon, config.model.width) {}

SampleRange TrainingStep::own_samples() const {
    const LaneRange own = sync_.own_lanes();
    return {sync_.lanes().samples(own.begin, config_.train.batch).begin,
            sync_.lanes().samples(own.end - 1, config_.train.batch).end};
}

std::int64_t TrainingStep::rows_of_a_pass() const {
    std::int64_t samples = (config_.train.batch + config_.parallel.lanes - 1) / config_.parallel.lanes;
    if (config_.train.micro_batch > 0) samples = std::min(samples, config_.train.micro_batch);
    return samples * config_.model.context;
}

void TrainingStep::run_lane(int lane, const TokenBatch& mine, std::int64_t step, double gradient_scale,
                            double* losses) {
    const SampleRange samples = sync_.lanes().samples(lane, config_.train.batch);
    if (samples.begin == samples.end) {
        sync_.empty_lane(lane);
        return;
    }
    sync_.begin_lane(lane);
    const auto context = static_cast<std::int64_t>(mine.context);
    const std::int64_t of_a_pass =
        config_.train.micro_batch > 0 ? config_.train.micro_batch : samples.end - samples.begin;
    const std::int64_t own_begin = own_samples().begin;
    for (std::int64_t first = samples.begin; first < samples.end; first += of_a_pass) {
        const std::int64_t count = std::min(of_a_pass, samples.end - first);
        const auto rows = [&](const std::vector<std::int32_t>& ids) {
            return Tensor::from<std::int32_t>(stream_, {count, context},
                                              std::span(ids).subspan(static_cast<std::size_t>((first - own_begin) * context),
                                                                     static_cast<std::size_t>(count * context)));
        };
        const TokenPass pass{rows(mine.inputs), rows(mine.targets)};
        PassContext place;
        place.seed = config_.train.seed;
        place.step = static_cast<std::uint64_t>(step);
        place.first_sample = first;
        place.training = true;

        Tape tape(stream_);
        tape.after_op = [this] { sync_.poll(); };
        if (first + count == samples.end) tape.on_leaf_final = [this](Leaf& leaf) { sync_.ready(leaf); };
        LossOptions options;
        options.label_smoothing = config_.train.label_smoothing;
        options.gradient_scale = gradient_scale;
        const LossSums sums = model_.loss(tape, pass, place, options);
        std::ranges::copy(sums.loss.span<double>(), losses + (first - own_begin));
        tape.backward(sums.root);
    }
}

double TrainingStep::gather(std::vector<double>& losses, std::uint64_t& flags) {
    // each rank's samples lie side by side, so the global batch's losses are the ranks' one after the other
    std::vector<std::uint64_t> all_flags(static_cast<std::size_t>(data_.size()));
    std::vector<double> all(static_cast<std::size_t>(config_.train.batch));
    std::vector<std::span<std::byte>> flag_parts, loss_parts;
    for (int rank = 0; rank < data_.size(); ++rank) {
        const LaneRange lanes = sync_.lanes().of_rank(rank);
        const std::int64_t begin = sync_.lanes().samples(lanes.begin, config_.train.batch).begin;
        const std::int64_t end = sync_.lanes().samples(lanes.end - 1, config_.train.batch).end;
        flag_parts.push_back(std::as_writable_bytes(std::span(all_flags).subspan(static_cast<std::size_t>(rank), 1)));
        loss_parts.push_back(std::as_writable_bytes(
            std::span(all).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin))));
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

StepOutcome TrainingStep::run(const TokenBatch& mine, std::int64_t step, std::int64_t update, std::uint64_t flags) {
    StepOutcome outcome;
    outcome.tokens = config_.train.batch * config_.model.context;
    outcome.learning_rate = schedule_.rate(update);
    outcome.flags = flags;
    const SampleRange own = own_samples();
    std::vector<double> losses(static_cast<std::size_t>(own.end - own.begin));

    sync_.begin_step();
    for (int lane = sync_.own_lanes().begin; lane < sync_.own_lanes().end; ++lane)
        run_lane(lane, mine, step, 1.0 / static_cast<double>(outcome.tokens), losses.data());
    sync_.backward_ended();
    sync_.finish();
    outcome.sync = sync_.statistics();

    outcome.loss = gather(losses, outcome.flags) / static_cast<double>(outcome.tokens);
    outcome.gradient_norm = gradient_norm(model_.parameters(), stream_);
    outcome.skipped = !std::isfinite(outcome.loss) || !std::isfinite(outcome.gradient_norm);
    if (!outcome.skipped) {
        const double clip = config_.train.clip;
        const double scale = clip > 0.0 && outcome.gradient_norm > clip ? clip / outcome.gradient_norm : 1.0;
        optimizer_.step(update, outcome.learning_rate, scale);
    }
    return outcome;
}

}  // namespace skein
