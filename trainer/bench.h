#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/tensor/device.h"
#include "parallel/gradient_transport.h"
#include "parallel/process_grid.h"
#include "trainer/config.h"
#include "trainer/kernel_times.h"
#include "trainer/traffic.h"

namespace skein {

/// A named shape whose training speed is measured.
struct BenchShape {
    std::string name;
    std::string what;
    ModelConfig model;
    std::int64_t batch = 0;  ///< sequences, over all ranks; all of them fill the context
    double label_smoothing = 0.0;
};
/// gpt-nano, gpt-mini, gpt2-124m (with a short context, for a CPU), gpt2-124m-gpu, base.
const std::vector<BenchShape>& bench_shapes();

/// A way of running the same steps.
struct BenchVariant {
    int lanes = 1;
    bool overlap = true;
    int zero = 0;  ///< --parallel.zero
};

/// Bytes of a rank's device memory.
struct BenchMemory {
    std::size_t parameters = 0;  ///< whole ones: f32, and their 16-bit copies
    std::size_t gradients = 0;   ///< f32 buffers
    std::size_t optimizer = 0;   ///< moments, and f32 values that are held for a slice alone
    std::size_t activations =
        0;  ///< the most that a step holds besides, what it receives others' sums in included
};

struct BenchOptions {
    std::int64_t steps = 10, warmup = 3;
    std::optional<Gpu> gpu;  ///< this rank's; none: on the CPU
    int threads = 1;
    double bucket_megabytes = 0.0;  ///< 0: as a run has it
    bool sequence = false;          ///< --parallel.sequence
    DeviceGroup device_group;       ///< null: a GPU's memory goes through the host's
    Precision precision = Precision::kFp32;
    bool tf32 = false;
    std::vector<BenchVariant> variants;  ///< at least one; a step of each by turns
    /// Then as many steps of the first variant, by kernel.
    bool by_kernel = false;
};

struct BenchResult {
    BenchVariant variant;
    double seconds = 0.0, least_seconds = 0.0, most_seconds = 0.0;  ///< a step: median, minimum, maximum
    double tokens_per_second = 0.0;                                 ///< of the median; target tokens
    double gflops = 0.0;  ///< of the median, by model_flops_per_token(); over all ranks
    std::int64_t parameters = 0;
    std::uint64_t peak_bytes = 0;  ///< largest sum of this rank's live tensors
    BenchMemory memory;
    double sent_early = 0.0;  ///< share of the gradient bytes that left before backward ended
    double bytes_sent = 0.0;  ///< a step, by this rank to data-parallel ones
    /// Over all ranks, a step: counted, and by formula (traffic.h).
    StepTraffic sent, formula;
    std::vector<MeteredStep> metered;  ///< this rank's, where they are asked for
};

/// Whole training steps (forward, backward, clip, AdamW) on random tokens, by variant. Collective. Throws
/// ConfigError for a shape that the tensor group cannot share.
std::vector<BenchResult> run_bench(const BenchShape& shape, const BenchOptions& options,
                                   const RankGroups& groups);

/// GFLOP/s: OpenBLAS's own best on one 2048 x 2048 product, all ranks' threads together. Collective.
double sgemm_peak(int threads, Communicator& world);

}  // namespace skein
