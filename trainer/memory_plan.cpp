#include "trainer/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <source_location>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "parallel/process_grid.h"
#include "trainer/options.h"
#include "trainer/run_rules.h"
#include "trainer/training_step.h"

namespace skein {
namespace {

// Ranks that are looked at: their samples, and how many of their lanes wait for others, differ a little.
constexpr int kMostRanks = 16;
// Batches of pairs are all of another shape, for each of which the pool has blocks of its own; after so many
// there is little to come.
constexpr std::int64_t kMostSteps = 64;
// Of evaluation.
constexpr std::size_t kMostPasses = 16;

/// A rank of a group in which nobody sends: what would arrive is there at once, whatever it is.
class SilentCommunicator final : public Communicator {
  public:
    /// `stream`: see Communicator::stream.
    SilentCommunicator(int rank, int size, Stream* stream) : rank_(rank), size_(size), stream_(stream) {}

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    Stream* stream() override { return stream_; }
    Pending start_exchange(std::span<const Outgoing>, std::span<const Incoming>, const CallSite&) override {
        return {};
    }
    Pending start_fast_all_reduce(std::span<float>, std::source_location) override { return {}; }
    std::unique_ptr<Communicator> duplicate() override {
        return std::make_unique<SilentCommunicator>(rank_, size_, stream_);
    }

  private:
    void copy_own(std::span<const std::byte>, std::span<std::byte>) override {}

    int rank_, size_;
    Stream* stream_;
};

// What is resident: of a block of the host's memory what was asked for, of a GPU's all.
std::size_t held(Stream& stream) {
    const Pool::Statistics own = stream.pool().statistics();
    if (stream.device() == Device::cpu) return own.touched;
    return own.reserved + stream.input_pool().statistics().reserved;
}

std::size_t copies_of(const ParameterList& parameters) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) bytes += parameters[i].leaf.copy.bytes();
    return bytes;
}

// Values and two moments, in fp32; what several ranks hold, each of them writes an equal part of.
std::size_t written_by_a_rank(const ParameterList& parameters, int data_ranks, int tensor_ranks) {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Parameter& parameter = parameters[i];
        const auto elements =
            static_cast<std::size_t>(parameter.layout.local(parameter.global_shape).elements());
        const int holders = parameter.layout.is_split() ? data_ranks : data_ranks * tensor_ranks;
        bytes += 3 * sizeof(float) * elements / static_cast<std::size_t>(holders);
    }
    return bytes;
}

/// A change that may make a plan smaller.
struct Remedy {
    std::string option, value;
};

// The configuration with it, if this build knows it and the values go together.
std::optional<RunConfig> with(const RunConfig& config, const Remedy& remedy) {
    if (!find_option(remedy.option) || get_option(config, remedy.option) == remedy.value) return std::nullopt;
    RunConfig changed = config;
    try {
        set_option(changed, remedy.option, remedy.value);
        validate(changed);
    } catch (const ConfigError&) {
        return std::nullopt;
    }
    return changed;
}

// The largest passes first.
std::vector<Remedy> smaller_passes(const RunConfig& config) {
    const TrainSection& train = config.train;
    const bool by_tokens = train.micro_batch_tokens > 0 || (train.micro_batch == 0 && train.batch_tokens > 0);
    const char* option = by_tokens ? "train.micro-batch-tokens" : "train.micro-batch";
    std::int64_t size = by_tokens ? train.micro_batch_tokens : train.micro_batch;
    if (size == 0)
        size = ((by_tokens ? train.batch_tokens : train.batch) + config.parallel.lanes - 1) /
               config.parallel.lanes;
    std::vector<Remedy> remedies;
    for (size /= 2; size >= (by_tokens ? 64 : 1); size /= 2) remedies.push_back({option, text(size)});
    return remedies;
}

// Down to one lane a rank.
std::vector<Remedy> fewer_lanes(const RunConfig& config, int ranks) {
    std::vector<Remedy> remedies;
    for (int lanes = config.parallel.lanes / 2; lanes >= ranks; lanes /= 2)
        remedies.push_back({"parallel.lanes", text(lanes)});
    return remedies;
}

std::vector<Remedy> more_tensor_ranks(const RunConfig& config, int ranks) {
    std::vector<Remedy> remedies;
    for (int tensor = 2 * config.parallel.tensor; tensor <= ranks; tensor *= 2)
        if (ranks % tensor == 0 && config.model.heads % tensor == 0)
            remedies.push_back({"parallel.tensor", text(tensor)});
    return remedies;
}

std::size_t status_line(const char* name) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (std::size_t kibibytes = 0; word == name && status >> kibibytes) return kibibytes * 1024;
    return 0;
}

}  // namespace

PlannedRun::PlannedRun(const RunConfig& config, const PlanPlace& place, const TrainingData& training,
                       const ValidationData* validation)
    : config_(config), place_(place), training_(training), validation_(validation), plan_(plan_for(config)) {}

MemoryPlan PlannedRun::plan_for(const RunConfig& config) const {
    check_tensor_ranks(config.parallel.tensor, place_.ranks);
    const int ranks = place_.ranks / config.parallel.tensor, looked_at = std::min(ranks, kMostRanks);
    MemoryPlan worst;
    for (int i = 0; i < looked_at; ++i) {
        const int rank = looked_at == 1 ? 0 : static_cast<int>(std::int64_t{ranks - 1} * i / (looked_at - 1));
        const MemoryPlan plan = plan_rank(config, rank, ranks);
        if (plan.total() > worst.total()) worst = plan;
    }
    return worst;
}

MemoryPlan PlannedRun::plan_rank(const RunConfig& config, int rank, int ranks) const {
    Stream stream(PlanOnly{place_.device});
    SilentCommunicator data(rank, ranks, nullptr), gradients(rank, ranks, &stream);
    // the slices of tensor ranks differ by eight channels or ids at most
    const int tensor = config.parallel.tensor;
    SilentCommunicator tensor_ranks(tensor - 1, tensor, place_.queued ? &stream : nullptr);
    TensorGroup tensor_group(tensor_ranks);
    TensorSharing sharing;
    if (tensor > 1) sharing = {&tensor_group, config.parallel.sequence};
    const std::unique_ptr<Objective> objective =
        make_objective(stream, config.model, config.train.seed, sharing);
    const std::size_t values = held(stream);
    TrainingStep step(config, *objective, stream,
                      StepGroups(data, place_.queued ? &gradients : nullptr, data));
    const std::size_t before = held(stream), copies = copies_of(objective->model().parameters());
    const OwnSamples own = [&](std::int64_t samples) { return step.own_samples(samples); };
    for (const Batch& batch : training_.blank_batches(own, std::min(config.train.steps, kMostSteps))) {
        step.start(batch, 0, 0);
        step.drop();
    }
    const std::size_t passes = validation_ ? std::min(kMostPasses, validation_->passes().size()) : 0;
    for (std::size_t pass = 0; pass < passes; ++pass) {
        const Batch batch = validation_->blank(pass);
        Tape tape(stream, Tape::Mode::kInference);
        objective->loss(tape, batch, batch.own, {}, {});
    }
    const std::size_t in_buffers = place_.queued ? step.sync().staging_bytes() : 0;
    MemoryPlan plan;
    plan.parameters = values + copies;
    plan.gradients = step.sync().buffer_bytes();
    plan.optimizer = before - values - copies - plan.gradients - in_buffers;
    plan.activations = held(stream) - before;
    plan.buffers = step.sync().staging_bytes();
    if (config.checkpoint.background && place_.device == Device::cpu)
        plan.saving = written_by_a_rank(objective->model().parameters(), ranks, tensor);
    plan.program = place_.program;
    return plan;
}

std::string size_text(std::size_t bytes) {
    constexpr std::array kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1000.0 && unit + 1 < kUnits.size(); ++unit) size /= 1024.0;
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, unit == 0 ? "%.0f %s" : "%.2f %s", size, kUnits[unit]);
    return buffer;
}

std::string plan_line(const MemoryPlan& plan) {
    return text("a rank needs ", size_text(plan.total()), " of memory: parameters ",
                size_text(plan.parameters), ", gradients ", size_text(plan.gradients), ", optimizer ",
                size_text(plan.optimizer), ", activations ", size_text(plan.activations), ", buffers ",
                size_text(plan.buffers), plan.saving > 0 ? text(", saving ", size_text(plan.saving)) : "",
                plan.program > 0 ? text(", program ", size_text(plan.program)) : std::string());
}

void PlannedRun::check_fits(std::size_t limit, const std::string& whose) const {
    if (plan_.total() <= limit) return;
    std::string enough, less;
    const auto name = [](std::string& list, const Remedy& remedy, const MemoryPlan& plan) {
        list += text(list.empty() ? "" : ", ", "--", remedy.option, " ", remedy.value, " (",
                     size_text(plan.total()), ")");
    };
    // alternatives to each other, from the mildest on: the first that is enough is named, or else the last
    const auto try_out = [&](const std::vector<Remedy>& remedies) {
        std::optional<std::pair<Remedy, MemoryPlan>> best;
        for (const Remedy& remedy : remedies) {
            const std::optional<RunConfig> changed = with(config_, remedy);
            if (!changed) continue;
            std::optional<MemoryPlan> planned;
            try {
                planned = plan_for(*changed);
            } catch (const ConfigError&) {  // a model that so many ranks cannot share
                continue;
            }
            const MemoryPlan& plan = *planned;
            if (plan.total() < plan_.total()) best.emplace(remedy, plan);
            if (plan.total() <= limit) return name(enough, remedy, plan);
        }
        if (best) name(less, best->first, best->second);
    };
    try_out(smaller_passes(config_));
    try_out({{"checkpoint.background", "false"}});
    try_out({{"train.recompute", "attention"}, {"train.recompute", "block"}});
    try_out({{"parallel.zero", "1"}});
    if (config_.parallel.tensor > 1) try_out({{"parallel.sequence", "true"}});
    try_out(more_tensor_ranks(config_, place_.ranks));
    try_out(fewer_lanes(config_, place_.ranks / config_.parallel.tensor));
    if (place_.device == Device::cuda) try_out({{"train.precision", "bf16"}});
    throw ConfigError(text("memory: a rank needs ", size_text(plan_.total()), ", found ", size_text(limit),
                           " (", whose, ")",
                           !enough.empty() ? text("; enough is ", enough)
                           : !less.empty() ? text("; none of these is enough alone: ", less)
                                           : std::string("; wanted a smaller model, or more memory")));
}

std::size_t resident_bytes() {
    return status_line("VmRSS:");
}

std::size_t peak_resident_bytes() {
    return status_line("VmHWM:");
}

}  // namespace skein
