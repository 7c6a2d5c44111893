#include "trainer/run_rules.h"

#include <algorithm>
#include <cmath>

#include "model/base/error.h"
#include "model/nn/sharing.h"
#include "trainer/option_values.h"
#include "trainer/options.h"

namespace skein {

namespace {

/// "option --A: found 30, wanted WANTED (--B is 4)"
[[noreturn]] void contradiction(const RunConfig& config, const char* option, const std::string& wanted,
                                const char* other) {
    throw ConfigError(text("option --", option, ": found ", get_option(config, option), ", wanted ", wanted,
                           " (--", other, " is ", get_option(config, other), ")"));
}

void validate_model(const RunConfig& config) {
    const ModelConfig& model = config.model;
    if (model.width % model.heads != 0) {
        contradiction(config, "model.width", "a multiple of the number of heads", "model.heads");
    }
    if (model.kv_heads() > model.heads || model.heads % model.kv_heads() != 0) {
        contradiction(config, "model.kv-heads", "a divisor of the number of heads", "model.heads");
    }
    if (model.position == PositionKind::kSinusoidal && model.width % 2 != 0) {
        contradiction(config, "model.width", "an even width for sinusoidal positions", "model.position");
    }
}

std::int64_t horizon_of(const RunConfig& config) {
    return config.schedule.horizon > 0 ? config.schedule.horizon : config.train.steps;
}

void validate_schedule(const RunConfig& config) {
    const ScheduleSection& schedule = config.schedule;
    const std::int64_t horizon = horizon_of(config);
    const std::int64_t warmup = warmup_updates(schedule.warmup, horizon);
    const char* horizon_option = schedule.horizon > 0 ? "schedule.horizon" : "train.steps";
    const bool decays_to_floor = schedule.kind == ScheduleKind::kCosine ||
                                 schedule.kind == ScheduleKind::kLinear ||
                                 schedule.kind == ScheduleKind::kWsd;
    const bool scales_with_warmup =
        schedule.kind == ScheduleKind::kNoam || schedule.kind == ScheduleKind::kInverseSqrt;
    if (decays_to_floor && schedule.floor > schedule.peak) {
        contradiction(config, "schedule.floor", "at most the peak", "schedule.peak");
    }
    if (decays_to_floor && warmup > horizon) {
        contradiction(config, "schedule.warmup", "no more updates than the horizon has", horizon_option);
    }
    if (scales_with_warmup && warmup < 1) {
        contradiction(config, "schedule.warmup", "at least one update", "schedule.kind");
    }
    const auto decay =
        static_cast<std::int64_t>(std::llround(schedule.decay_share * static_cast<double>(horizon)));
    if (schedule.kind == ScheduleKind::kWsd && warmup + decay > horizon) {
        contradiction(config, "schedule.decay-share", "warm-up and decay inside the horizon",
                      "schedule.warmup");
    }
}

void validate_batch(const RunConfig& config) {
    const TrainSection& train = config.train;
    if (train.batch_tokens > 0 && config.model.kind == ModelKind::kDecoder) {
        contradiction(config, "train.batch-tokens",
                      "0: a decoder's sequences are of one length, give --train.batch", "model.kind");
    }
    if (train.batch_tokens > 0 && train.batch > 0) {
        contradiction(config, "train.batch", "0 with batches by tokens", "train.batch-tokens");
    }
    if (train.batch > 0 && train.micro_batch > train.batch) {
        contradiction(config, "train.micro-batch", "at most the batch", "train.batch");
    }
    if (train.batch_tokens > 0 && train.micro_batch_tokens > train.batch_tokens) {
        contradiction(config, "train.micro-batch-tokens", "at most the batch", "train.batch-tokens");
    }
    if (train.micro_batch > 0 && train.micro_batch_tokens > 0) {
        contradiction(config, "train.micro-batch", "0 with passes by tokens", "train.micro-batch-tokens");
    }
}

void validate_precision(const RunConfig& config) {
    if (config.train.tf32 && config.train.precision != Precision::kFp32)
        contradiction(config, "train.tf32", "false, since only fp32's products know it", "train.precision");
    if (config.train.tf32 && config.device == "cpu")
        contradiction(config, "train.tf32", "false, since the CPU has no TF32", "device");
}

constexpr std::int64_t kDefaultBatch = 32, kMostDefaultLanes = 8;

std::int64_t default_lanes(const TrainSection& train) {
    if (train.batch_tokens > 0) return kMostDefaultLanes;
    std::int64_t lanes = 1;
    while (lanes < kMostDefaultLanes && train.batch % (2 * lanes) == 0) lanes *= 2;
    return lanes;
}

/// Options whose 0 stands for a value that effective() works out.
bool asks_for_default(const std::string& name, const std::string& value) {
    return value == "0" &&
           (name == "model.kv-heads" || name == "model.ff" || name == "model.vocabulary" ||
            name == "model.source-vocabulary" || name == "model.encoder-layers" ||
            name == "model.decoder-layers" || name == "parallel.lanes" || name == "schedule.horizon");
}

}  // namespace

void validate(const RunConfig& config) {
    validate_model(config);
    validate_batch(config);
    validate_precision(config);
    const int lanes = config.parallel.lanes;
    if (lanes > 0 && (lanes & (lanes - 1)) != 0) {
        throw ConfigError(
            text("option --parallel.lanes: found ", lanes, ", allowed is a power of two, or 0"));
    }
    if (config.parallel.zero > 0 && config.parallel.reduction == GradientReduction::kFast) {
        contradiction(config, "parallel.zero", "0 with the fast reduction", "parallel.reduction");
    }
    if (config.parallel.tensor > 1 && config.parallel.reduction == GradientReduction::kFast) {
        contradiction(config, "parallel.tensor", "1 with the fast reduction", "parallel.reduction");
    }
    check_sharing(config.model, config.parallel.tensor);
    validate_schedule(config);
    if (config.eval.patience > 0 && config.eval.every == 0) {
        contradiction(config, "eval.patience", "0 without validations to count", "eval.every");
    }
}

RunConfig effective(const RunConfig& given) {
    RunConfig config = given;
    config.model.key_value_heads = config.model.kv_heads();
    config.model.feed_forward = config.model.ff();
    if (config.model.kind == ModelKind::kEncoderDecoder) {
        config.model.encoder_layers = config.model.encoder_depth();
        config.model.decoder_layers = config.model.decoder_depth();
    }
    if (config.train.batch == 0 && config.train.batch_tokens == 0) config.train.batch = kDefaultBatch;
    if (config.parallel.lanes == 0) config.parallel.lanes = static_cast<int>(default_lanes(config.train));
    config.schedule.horizon = horizon_of(config);
    return config;
}

std::int64_t warmup_updates(const std::string& warmup, std::int64_t horizon) {
    if (!warmup.empty() && warmup.back() == '%') {
        const auto share = parse_number(std::string_view(warmup).substr(0, warmup.size() - 1));
        if (share && *share >= 0.0 && *share <= 100.0) {
            if (*share == 0.0) return 0;
            return std::max<std::int64_t>(1, std::llround(*share / 100.0 * static_cast<double>(horizon)));
        }
    } else if (const auto updates = parse_integer(warmup); updates && *updates >= 0) {
        return *updates;
    }
    throw ConfigError(text("option --schedule.warmup: found '", warmup,
                           "', allowed is updates, or a share from 0% to 100%"));
}

ResumeComparison compare_for_resume(const RunConfig& saved, const RunConfig& wanted,
                                    const std::set<std::string>& given) {
    ResumeComparison comparison{saved, {}, {}, {}};
    for (const OptionInfo& option : run_options()) {
        if (!given.contains(option.name)) continue;
        ResumeChange change{option.name, get_option(saved, option.name), get_option(wanted, option.name)};
        if (change.saved == change.wanted || asks_for_default(change.name, change.wanted)) continue;
        if (option.on_resume == OnResume::kRefused) {
            comparison.refused.push_back(std::move(change));
            continue;
        }
        set_option(comparison.config, change.name, change.wanted);
        (option.on_resume == OnResume::kFree ? comparison.silent : comparison.notices)
            .push_back(std::move(change));
    }
    return comparison;
}

void require_none_refused(const ResumeComparison& comparison) {
    if (comparison.refused.empty()) return;
    const ResumeChange& change = comparison.refused.front();
    throw ConfigError(text(
        "option --", change.name, ": found ", change.wanted, ", wanted ", change.saved,
        " as the checkpoint has it; a resumed run cannot change it: for another run, give another --out"));
}

}  // namespace skein
