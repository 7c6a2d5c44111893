#include "trainer/bench.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "model/base/philox.h"
#include "trainer/run_rules.h"
#include "trainer/training_step.h"

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
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1.0f, a.data(), kSize, b.data(), kSize,
                    0.0f, c.data(), kSize);
        best = std::max(best, 2.0 * kSize * kSize * kSize / seconds_between(start, Clock::now()) * 1e-9);
    }
    return best;
}

/// Ids in [0, vocabulary): a function of step, sample and what they are for.
std::vector<std::int32_t> random_ids(std::int64_t vocabulary, std::int64_t length, SampleRange samples, std::int64_t step,
                                     std::uint32_t what) {
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
            part.source_offsets.push_back(part.source_offsets.back() + static_cast<std::uint64_t>(model.context));
            part.target_offsets = part.source_offsets;
        }
        part.source = ids(model.source_ids(), 2);
        part.inputs = ids(model.vocabulary, 0);
        part.targets = ids(model.vocabulary, 1);
        batch.part = std::move(part);
    }
    return batch;
}

}  // namespace

const std::vector<BenchShape>& bench_shapes() {
    static const std::vector<BenchShape> shapes = {
        {"gpt-nano", "4 layers of width 128, context 64, batch 12, vocabulary 65", gpt(4, 4, 128, 64, 65), 12},
        {"gpt-mini", "6 layers of width 384, context 256, batch 16, vocabulary 65", gpt(6, 6, 384, 256, 65), 16},
        {"gpt2-124m", "12 layers of width 768, context 256, batch 4, vocabulary 50304", gpt(12, 12, 768, 256, 50304), 4},
        {"base", "6 + 6 layers of width 512 (Vaswani et al.), 32 + 32 tokens, batch 32, vocabulary 32000", paper_base(), 32,
         0.1},
    };
    return shapes;
}

double training_flops(const ModelConfig& model, std::int64_t samples) {
    const auto width = static_cast<double>(model.width), length = static_cast<double>(model.context);
    const double key_values = 2.0 * width * static_cast<double>(model.kv_heads() * model.head_width());
    const double query_and_output = 2.0 * width * width;
    const double feed_forward = 2.0 * width * static_cast<double>(model.ff());
    const double head = width * static_cast<double>(model.vocabulary);
    const double block = query_and_output + key_values + feed_forward, attention = 4.0 * length * width;
    const auto decoder = static_cast<double>(model.decoder_depth());
    double of_a_token = decoder * (2.0 * block + attention / 2.0) + 2.0 * head;
    if (model.kind == ModelKind::kEncoderDecoder) {
        of_a_token += static_cast<double>(model.encoder_depth()) * (2.0 * block + attention);
        of_a_token += decoder * (2.0 * (query_and_output + key_values) + attention);
    }
    return 3.0 * of_a_token * static_cast<double>(samples) * length;
}

BenchResult run_bench(const BenchShape& shape, const BenchOptions& options, Communicator& data) {
    RunConfig config;
    config.model = shape.model;
    config.train.batch = shape.batch;
    config.train.label_smoothing = shape.label_smoothing;
    config.schedule.peak = 1e-4;
    config.schedule.floor = 1e-5;
    config.parallel.lanes = options.lanes;
    config.parallel.overlap = options.overlap;
    config.parallel.bucket_megabytes = options.bucket_megabytes;
    config = effective(config);

    Stream stream(options.threads);
    const std::unique_ptr<Objective> objective = make_objective(stream, config.model, config.train.seed);
    TrainingStep training_step(config, *objective, stream, data);
    BenchResult result;
    std::vector<double> times;
    GradientSyncStatistics sync;
    for (std::int64_t step = 0; step < options.warmup + options.steps; ++step) {
        const Batch batch = random_batch(shape, training_step.own_samples(shape.batch), step);
        data.barrier();
        const auto start = Clock::now();
        const StepOutcome outcome = training_step.run(batch, step, step + 1, 0);
        if (step >= options.warmup) times.push_back(seconds_between(start, Clock::now()));
        sync = outcome.sync;
    }
    std::ranges::sort(times);
    result.seconds = times[times.size() / 2];
    result.least_seconds = times.front();
    result.most_seconds = times.back();
    const auto tokens = static_cast<double>(shape.batch * shape.model.context);
    result.tokens_per_second = tokens / result.seconds;
    result.parameters = objective->model().parameters().elements();
    result.gflops = training_flops(shape.model, shape.batch) / result.seconds * 1e-9;
    result.peak_bytes = stream.pool().statistics().peak;
    result.bytes_sent = static_cast<double>(sync.bytes_sent);
    result.sent_early =
        sync.bytes_sent > 0 ? static_cast<double>(sync.bytes_sent_during_backward) / result.bytes_sent : 0.0;
    data.barrier();
    result.sgemm_gflops = data.all_reduce_value(sgemm_gflops(options.threads));
    return result;
}

}  // namespace skein
