#include "trainer/bench.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "model/base/philox.h"
#include "trainer/run_rules.h"
#include "trainer/training_step.h"
#include "trainer/utilisation.h"

extern "C" void openblas_set_num_threads(int threads);

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

ModelConfig gpt(std::int64_t layers, std::int64_t heads, std::int64_t width, std::int64_t context,
                std::int64_t vocabulary) {
    ModelConfig model;
    model.layers = layers;
    model.heads = heads;
    model.width = width;
    model.context = context;
    model.vocabulary = vocabulary;
    return model;
}

ModelConfig paper_base() {
    ModelConfig model;
    model.kind = ModelKind::kEncoderDecoder;
    model.layers = 6;
    model.heads = 8;
    model.width = 512;
    model.context = 32;
    model.vocabulary = 32000;
    model.norm = NormPlace::kPost;
    model.position = PositionKind::kSinusoidal;
    model.activation = ActivationKind::kRelu;
    return model;
}

double sgemm_gflops(int threads) {
    constexpr int kSize = 2048;
    std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
    openblas_set_num_threads(threads);
    double best = 0.0;
    for (int repeat = 0; repeat < 4; ++repeat) {
        const auto start = Clock::now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1.0f, a.data(), kSize,
                    b.data(), kSize, 0.0f, c.data(), kSize);
        best = std::max(best, 2.0 * kSize * kSize * kSize / seconds_between(start, Clock::now()) * 1e-9);
    }
    return best;
}

/// Ids in [0, vocabulary): a function of step, sample and what they are for.
std::vector<std::int32_t> random_ids(std::int64_t vocabulary, std::int64_t length, SampleRange samples,
                                     std::int64_t step, std::uint32_t what) {
    std::vector<std::int32_t> ids;
    const PhiloxKey key = philox_key(1, RandomPurpose::kBench, static_cast<std::uint64_t>(step), what);
    for (std::int64_t i = samples.begin * length; i < samples.end * length; ++i)
        ids.push_back(static_cast<std::int32_t>(philox_at(static_cast<std::uint64_t>(i), key)[0] %
                                                static_cast<std::uint32_t>(vocabulary)));
    return ids;
}

Batch random_batch(const BenchShape& shape, SampleRange own, std::int64_t step) {
    const ModelConfig& model = shape.model;
    const auto ids = [&](std::int64_t vocabulary, std::uint32_t what) {
        return random_ids(vocabulary, model.context, own, step, what);
    };
    Batch batch;
    batch.samples = shape.batch;
    batch.target_tokens = shape.batch * model.context;
    batch.own = own;
    if (model.kind == ModelKind::kDecoder) {
        TokenBatch part;
        part.context = static_cast<std::uint64_t>(model.context);
        part.inputs = ids(model.vocabulary, 0);
        part.targets = ids(model.vocabulary, 1);
        batch.part = std::move(part);
    } else {
        PairBatch part;
        for (std::int64_t i = 0; i < own.end - own.begin; ++i) {
            part.source_offsets.push_back(part.source_offsets.back() +
                                          static_cast<std::uint64_t>(model.context));
            part.target_offsets = part.source_offsets;
        }
        part.source = ids(model.source_ids(), 2);
        part.inputs = ids(model.vocabulary, 0);
        part.targets = ids(model.vocabulary, 1);
        batch.part = std::move(part);
    }
    return batch;
}

RunConfig config_of(const BenchShape& shape, const BenchOptions& options, const BenchVariant& variant) {
    RunConfig config;
    config.model = shape.model;
    config.train.batch = shape.batch;
    config.train.label_smoothing = shape.label_smoothing;
    config.train.precision = options.precision;
    config.train.tf32 = options.tf32;
    config.schedule.peak = 1e-4;
    config.schedule.floor = 1e-5;
    config.parallel.lanes = variant.lanes;
    config.parallel.overlap = variant.overlap;
    config.parallel.zero = variant.zero;
    config.parallel.bucket_megabytes = options.bucket_megabytes;
    config.parallel.sequence = options.sequence;
    return effective(config);
}

/// A model of its own, trained in one variant.
class VariantRun {
  public:
    VariantRun(const BenchShape& shape, const BenchOptions& options, const BenchVariant& variant,
               const RankGroups& groups)
        : shape_(shape),
          variant_(variant),
          groups_(groups),
          stream_(options.gpu, options.threads),
          gradients_(on_device(options, groups.data)),
          tensor_ranks_(on_device(options, groups.tensor)),
          tensor_group_(tensor_ranks_ ? *tensor_ranks_ : groups.tensor),
          objective_(make_objective(stream_, shape.model, 1, sharing(options))),
          step_(config_of(shape, options, variant), *objective_, stream_,
                StepGroups(groups.data, gradients_.get(), groups.world)) {}

    void step(std::int64_t number, bool measured) {
        const Batch batch = random_batch(shape_, step_.own_samples(shape_.batch), number);
        groups_.world.barrier();
        const auto start = Clock::now();
        const StepOutcome outcome = step_.run(batch, number, 0);
        sync_ = outcome.sync;
        tensor_bytes_ = outcome.tensor_bytes_sent;
        if (!measured) stream_.pool().reset_peak();  // at the start there is what no step needs
        if (measured) times_.push_back(seconds_between(start, Clock::now()));
    }

    /// The same step, with each kernel's time.
    void metered_step(std::int64_t number, bool measured) {
        const Batch batch = random_batch(shape_, step_.own_samples(shape_.batch), number);
        groups_.world.barrier();
        stream_.set_meter(&meter_);
        const auto start = Clock::now();
        step_.run(batch, number, 0);
        MeteredStep step{seconds_between(start, Clock::now()), {}};
        stream_.set_meter(nullptr);
        step.kernels = meter_.take(stream_);
        if (measured) metered_.push_back(std::move(step));
    }

    BenchResult result() {
        std::ranges::sort(times_);
        BenchResult result;
        result.variant = variant_;
        result.seconds = times_[times_.size() / 2];
        result.least_seconds = times_.front();
        result.most_seconds = times_.back();
        result.tokens_per_second = static_cast<double>(shape_.batch * shape_.model.context) / result.seconds;
        const auto length = static_cast<double>(shape_.model.context);
        result.gflops = model_flops_per_token(shape_.model, length, length) * result.tokens_per_second * 1e-9;
        const ParameterList& parameters = objective_->model().parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i)
            result.parameters += parameters[i].global_shape.elements();
        result.peak_bytes = stream_.pool().statistics().peak;
        result.memory = memory();
        result.bytes_sent = static_cast<double>(sync_.bytes_sent);
        if (sync_.bytes_sent > 0)
            result.sent_early = static_cast<double>(sync_.bytes_sent_during_backward) / result.bytes_sent;
        result.sent.data = groups_.world.all_reduce_value(sync_.bytes_sent);
        result.sent.tensor = groups_.world.all_reduce_value(tensor_bytes_);
        const std::int64_t rows = shape_.batch * shape_.model.context;
        result.formula = step_traffic({objective_->model(), groups_.data.size(), groups_.tensor.size(),
                                       variant_.lanes, step_.sync().layout().elements, rows, rows});
        // tensor ranks have slices that are not all of one size
        result.formula.data = groups_.world.all_reduce_value(result.formula.data) / groups_.world.size();
        result.metered = std::move(metered_);
        return result;
    }

  private:
    /// The group on the ranks' GPUs; null where it goes through the host, or has one rank.
    std::unique_ptr<Communicator> on_device(const BenchOptions& options, Communicator& group) {
        if (!options.device_group || group.size() == 1) return nullptr;
        return options.device_group(stream_, group);
    }
    TensorSharing sharing(const BenchOptions& options) {
        if (groups_.tensor.size() == 1) return {};
        return {&tensor_group_, options.sequence};
    }
    BenchMemory memory() {
        BenchMemory memory;
        const ParameterList& parameters = objective_->model().parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i)
            memory.parameters += parameters[i].leaf.value.bytes() + parameters[i].leaf.copy.bytes();
        memory.gradients = step_.sync().buffer_bytes();
        memory.optimizer = step_.optimizer().bytes();
        const Pool::Statistics pool = stream_.pool().statistics();
        memory.activations = pool.peak - pool.in_use;
        return memory;
    }

    const BenchShape& shape_;
    BenchVariant variant_;
    RankGroups groups_;
    Stream stream_;
    std::unique_ptr<Communicator> gradients_, tensor_ranks_;
    TensorGroup tensor_group_;
    std::unique_ptr<Objective> objective_;
    TrainingStep step_;
    std::vector<double> times_;
    WorkMeter meter_;
    std::vector<MeteredStep> metered_;
    GradientSyncStatistics sync_;  // of the last step
    std::int64_t tensor_bytes_ = 0;
};

}  // namespace

const std::vector<BenchShape>& bench_shapes() {
    static const std::vector<BenchShape> shapes = {
        {"gpt-nano", "4 layers of width 128, context 64, batch 12, vocabulary 65", gpt(4, 4, 128, 64, 65),
         12},
        {"gpt-mini", "6 layers of width 384, context 256, batch 16, vocabulary 65", gpt(6, 6, 384, 256, 65),
         16},
        {"gpt2-124m", "12 layers of width 768, context 256, batch 4, vocabulary 50304",
         gpt(12, 12, 768, 256, 50304), 4},
        {"gpt2-124m-gpu", "12 layers of width 768, context 1024, batch 32, vocabulary 50304",
         gpt(12, 12, 768, 1024, 50304), 32},
        {"base", "6 + 6 layers of width 512 (Vaswani et al.), 32 + 32 tokens, batch 32, vocabulary 32000",
         paper_base(), 32, 0.1},
    };
    return shapes;
}

std::vector<BenchResult> run_bench(const BenchShape& shape, const BenchOptions& options,
                                   const RankGroups& groups) {
    std::vector<std::unique_ptr<VariantRun>> runs;
    for (const BenchVariant& variant : options.variants)
        runs.push_back(std::make_unique<VariantRun>(shape, options, variant, groups));
    for (std::int64_t step = 0; step < options.warmup + options.steps; ++step)
        for (const auto& run : runs) run->step(step, step >= options.warmup);
    const std::int64_t done = options.warmup + options.steps;
    for (std::int64_t step = 0; options.by_kernel && step <= options.steps; ++step)
        runs.front()->metered_step(done + step, step > 0);  // the first makes what the meter needs
    std::vector<BenchResult> results;
    for (const auto& run : runs) results.push_back(run->result());
    return results;
}

double sgemm_peak(int threads, Communicator& world) {
    world.barrier();
    return world.all_reduce_value(sgemm_gflops(threads));
}

}  // namespace skein
