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

TokenBatch random_tokens(const BenchShape& shape, SampleRange own, std::int64_t step) {
    TokenBatch batch;
    batch.context = static_cast<std::uint64_t>(shape.model.context);
    const PhiloxKey key = philox_key(1, RandomPurpose::kBench, static_cast<std::uint64_t>(step), 0);
    for (std::int64_t sample = own.begin; sample < own.end; ++sample) {
        batch.ordinals.push_back(static_cast<std::uint64_t>(sample));
        for (std::int64_t t = 0; t < shape.model.context; ++t) {
            const PhiloxBlock words = philox_at(static_cast<std::uint64_t>(sample * shape.model.context + t), key);
            const auto vocabulary = static_cast<std::uint32_t>(shape.model.vocabulary);
            batch.inputs.push_back(static_cast<std::int32_t>(words[0] % vocabulary));
            batch.targets.push_back(static_cast<std::int32_t>(words[1] % vocabulary));
        }
    }
    return batch;
}

}  // namespace

const std::vector<BenchShape>& bench_shapes() {
    static const std::vector<BenchShape> shapes = {
        {"gpt-nano", "4 layers of width 128, context 64, batch 12, vocabulary 65", gpt(4, 4, 128, 64, 65), 12},
        {"gpt-mini", "6 layers of width 384, context 256, batch 16, vocabulary 65", gpt(6, 6, 384, 256, 65), 16},
        {"gpt2-124m", "12 layers of width 768, context 256, batch 4, vocabulary 50304", gpt(12, 12, 768, 256, 50304), 4},
    };
    return shapes;
}

double training_flops_per_token(const ModelConfig& model, std::int64_t matrix_parameters) {
    const double attention = 4.0 * static_cast<double>(model.layers * model.context * model.width) / 2.0;
    return 3.0 * (2.0 * static_cast<double>(matrix_parameters) + attention);
}

BenchResult run_bench(const BenchShape& shape, const BenchOptions& options, Communicator& data) {
    RunConfig config;
    config.model = shape.model;
    config.train.batch = shape.batch;
    config.schedule.peak = 1e-4;
    config.schedule.floor = 1e-5;
    config.parallel.lanes = options.lanes;
    config.parallel.overlap = options.overlap;
    config.parallel.bucket_megabytes = options.bucket_megabytes;
    config = effective(config);

    Stream stream(options.threads);
    Transformer model(stream, config.model, config.train.seed);
    TrainingStep training_step(config, model, stream, data);
    BenchResult result;
    std::vector<double> times;
    GradientSyncStatistics sync;
    for (std::int64_t step = 0; step < options.warmup + options.steps; ++step) {
        const TokenBatch batch = random_tokens(shape, training_step.own_samples(), step);
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
    result.parameters = model.parameters().elements();
    std::int64_t matrices = 0;
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
        const Parameter& parameter = model.parameters()[i];
        // positions are looked up, not multiplied; a tied table is multiplied once, by the output projection
        if (parameter.decays && parameter.name != "position_embedding.weight")
            matrices += parameter.leaf.value.elements();
    }
    result.gflops = training_flops_per_token(shape.model, matrices) * result.tokens_per_second * 1e-9;
    result.peak_bytes = stream.pool().statistics().peak;
    result.bytes_sent = static_cast<double>(sync.bytes_sent);
    result.sent_early =
        sync.bytes_sent > 0 ? static_cast<double>(sync.bytes_sent_during_backward) / result.bytes_sent : 0.0;
    data.barrier();
    result.sgemm_gflops = data.all_reduce_value(sgemm_gflops(options.threads));
    return result;
}

}  // namespace skein
