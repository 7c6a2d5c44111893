#pragma once

#include <cstdint>
#include <string>

#include "data/pair_sampler.h"
#include "model/base/loss_scale.h"
#include "model/nn/model_config.h"
#include "model/nn/pass.h"
#include "model/tensor/dtype.h"
#include "parallel/gradient_transport.h"
#include "parallel/lanes.h"

namespace skein {

enum class OptimizerKind { kAdam, kAdamW };
enum class ScheduleKind { kConstant, kLinear, kCosine, kInverseSqrt, kNoam, kWsd };
/// What weights, activations and their gradients are held in; f32 master weights, sums and statistics all the
/// same.
enum class Precision { kFp32, kBf16, kFp16 };

/// [train]
struct TrainSection {
    std::int64_t steps = 1000;
    std::int64_t batch = 0;  ///< sequences, over all ranks; 0: by batch_tokens, or 32 where that is 0 too
    std::int64_t batch_tokens = 0;  ///< pairs: the most that sequences · longest may be, on each side; 0: off
    std::int64_t micro_batch = 0;   ///< sequences a pass; 0: a whole lane
    std::int64_t micro_batch_tokens = 0;  ///< the most that a pass's sequences · longest may be; 0: off
    LongPairs long_pairs = LongPairs::kError;
    std::uint64_t seed = 1;
    double label_smoothing = 0.0;
    double clip = 1.0;  ///< global gradient norm; 0: off
    Precision precision = Precision::kFp32;
    bool tf32 = false;  ///< on a GPU, fp32's matrix products may round their operands to TF32
    Recompute recompute = Recompute::kNone;
    /// fp16's loss scale: its first value, and LossScaleRule.
    double loss_scale_start = 65536.0;
    double loss_scale_growth = 2.0;
    double loss_scale_backoff = 0.5;
    std::int64_t loss_scale_interval = 2000;
    std::int64_t loss_scale_hysteresis = 1;
    /// Steps in a row with a non-finite loss or gradient before the run ends; those of fp16 that a smaller
    /// loss scale may help are not counted.
    std::int64_t max_skipped = 20;
    std::int64_t time_limit = 0;  ///< seconds from the start of the process to its end; 0: none
};

/// [optimizer]
struct OptimizerSection {
    OptimizerKind kind = OptimizerKind::kAdamW;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;
};

/// [schedule]. Rates are per update; the horizon is train.steps unless given.
struct ScheduleSection {
    ScheduleKind kind = ScheduleKind::kCosine;
    double peak = 1e-3;         ///< highest rate; for noam the factor of its formula
    double floor = 1e-4;        ///< lowest rate after decay
    std::string warmup = "2%";  ///< updates, or a share of the horizon
    std::int64_t horizon = 0;   ///< updates until the floor; 0: train.steps
    double decay_share = 0.2;   ///< wsd: the share of the horizon that decays
};

/// [parallel]
struct ParallelSection {
    int tensor = 1;         ///< ranks that share each layer
    bool sequence = false;  ///< and the rows between layers
    int zero = 0;           ///< 1: each data-parallel rank holds the optimizer's state of its slice alone
    int lanes = 0;          ///< 0: the largest power of two that divides the batch, at most 8
    int threads = 0;        ///< 0: the processors this rank is bound to
    GradientReduction reduction = GradientReduction::kLanes;
    double bucket_megabytes = 0.0;  ///< 0: by how gradients travel
    bool overlap = true;
    TransportChoice transport = TransportChoice::kAuto;
    double timeout = 600.0;  ///< seconds that ranks wait for one another in a collective (see Patience)
};

/// Steps, or seconds by the clock of rank 0: one of them is 0. Both: only at the end.
struct CheckpointInterval {
    std::int64_t steps = 0, seconds = 0;
};

/// [checkpoint]
struct CheckpointSection {
    CheckpointInterval every{.steps = 500};
    int keep = 3;
    bool background = true;  ///< training goes on while a checkpoint is written
    std::int64_t audit = 0;  ///< steps between comparisons of the replicas; 0: never
};

/// [eval]
struct EvalSection {
    std::int64_t every = 250;   ///< steps; 0: only at the end
    std::int64_t samples = 0;   ///< validation samples: windows of a stream, or pairs; 0: all
    std::int64_t patience = 0;  ///< evaluations without a better loss before the run stops early; 0: never
};

/// [log]
struct LogSection {
    std::int64_t every = 1;       ///< steps between lines in log.jsonl
    std::int64_t hash = 100;      ///< steps between hashes of the parameters; 0: none
    double plain_seconds = 10.0;  ///< between progress lines when the output is no terminal
};

constexpr DType dtype_of(Precision precision) {
    return precision == Precision::kBf16   ? DType::bf16
           : precision == Precision::kFp16 ? DType::f16
                                           : DType::f32;
}

/// Everything that a training run is a function of, besides its data. Every field is an option of the same
/// dotted name.
struct RunConfig {
    ModelConfig model;
    TrainSection train;
    OptimizerSection optimizer;
    ScheduleSection schedule;
    ParallelSection parallel;
    CheckpointSection checkpoint;
    EvalSection eval;
    LogSection log;
    std::string device = "auto";
};

}  // namespace skein
