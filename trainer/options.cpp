#include "trainer/options.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "model/base/error.h"
#include "trainer/duration.h"
#include "trainer/option_values.h"

namespace skein {

namespace {

/// Reads the value into the configuration; false when it is not allowed.
using Setter = std::function<bool(RunConfig&, std::string_view)>;
using Getter = std::function<std::string(const RunConfig&)>;

/// How one kind of value is read, shown and described.
struct Kind {
    std::string allowed;
    Getter get;
    Setter set;
};

struct Option {
    OptionInfo info;
    Getter get;
    Setter set;
};

constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();

/// `field` is a pointer to a section and one to its member: both are needed to reach a value in a RunConfig.
template <class Section, class Value>
struct Field {
    Section RunConfig::*section;
    Value Section::*member;
    Value& in(RunConfig& config) const { return config.*section.*member; }
    const Value& in(const RunConfig& config) const { return config.*section.*member; }
};

template <class Section, class Value>
Kind integer(Field<Section, Value> field, std::int64_t least, std::int64_t most = kUnbounded) {
    const std::string allowed = most == kUnbounded ? text("an integer of at least ", least)
                                                   : text("an integer from ", least, " to ", most);
    return {allowed, [=](const RunConfig& config) { return std::to_string(field.in(config)); },
            [=](RunConfig& config, std::string_view value) {
                const auto parsed = parse_integer(value);
                if (!parsed || *parsed < least || *parsed > most) return false;
                field.in(config) = static_cast<Value>(*parsed);
                return true;
            }};
}

/// A number from `least` (itself allowed or not) to `most` (itself allowed or not).
struct Range {
    double least;
    bool with_least;
    double most = std::numeric_limits<double>::infinity();
    bool with_most = false;

    bool holds(double value) const {
        return (value > least || (with_least && value == least)) &&
               (value < most || (with_most && value == most));
    }
    std::string description() const {
        std::string all = text("a number ", with_least ? "of at least " : "above ", number_text(least));
        if (most < std::numeric_limits<double>::infinity()) {
            all += text(with_most ? " and at most " : " and below ", number_text(most));
        }
        return all;
    }
};

constexpr Range kProbability{0.0, true, 1.0, false};

template <class Section>
Kind number(Field<Section, double> field, Range range) {
    return {range.description(), [=](const RunConfig& config) { return number_text(field.in(config)); },
            [=](RunConfig& config, std::string_view value) {
                const auto parsed = parse_number(value);
                if (!parsed || !range.holds(*parsed)) return false;
                field.in(config) = *parsed;
                return true;
            }};
}

/// A dropout probability that follows model.dropout while it is negative.
Kind own_dropout(double ModelConfig::*member) {
    const Field<ModelConfig, double> field{&RunConfig::model, member};
    return {"same (as model.dropout) or " + kProbability.description(),
            [=](const RunConfig& config) {
                return field.in(config) < 0.0 ? std::string("same") : number_text(field.in(config));
            },
            [=](RunConfig& config, std::string_view value) {
                if (value == "same") {
                    field.in(config) = -1.0;
                    return true;
                }
                const auto parsed = parse_number(value);
                if (!parsed || !kProbability.holds(*parsed)) return false;
                field.in(config) = *parsed;
                return true;
            }};
}

template <class Section>
Kind boolean(Field<Section, bool> field) {
    return {"true or false",
            [=](const RunConfig& config) { return std::string(field.in(config) ? "true" : "false"); },
            [=](RunConfig& config, std::string_view value) {
                const auto parsed = parse_boolean(value);
                if (!parsed) return false;
                field.in(config) = *parsed;
                return true;
            }};
}

template <class Section, class Enum>
Kind choice(Field<Section, Enum> field, std::vector<std::pair<std::string, Enum>> choices) {
    std::vector<std::string> words;
    for (const auto& [word, value] : choices) words.push_back(word);
    return {either(words),
            [=](const RunConfig& config) {
                for (const auto& [word, value] : choices) {
                    if (value == field.in(config)) return word;
                }
                return std::string("?");  // a value that no option offers was set by the program itself
            },
            [=](RunConfig& config, std::string_view chosen) {
                for (const auto& [word, value] : choices) {
                    if (word != chosen) continue;
                    field.in(config) = value;
                    return true;
                }
                return false;
            }};
}

Kind seed() {
    return {text("an integer from 0 to ", std::numeric_limits<std::uint64_t>::max()),
            [](const RunConfig& config) { return std::to_string(config.train.seed); },
            [](RunConfig& config, std::string_view value) {
                const auto parsed = parse_unsigned(value);
                if (!parsed) return false;
                config.train.seed = *parsed;
                return true;
            }};
}

Kind time_limit() {
    return {"a duration such as 4h, 90m, 3600 (seconds) or 1-12:00:00, or 0",
            [](const RunConfig& config) { return duration_text(config.train.time_limit); },
            [](RunConfig& config, std::string_view value) {
                const auto seconds = value.empty() ? std::optional<std::int64_t>(0) : parse_duration(value);
                if (seconds) config.train.time_limit = *seconds;
                return seconds.has_value();
            }};
}

Kind warmup() {
    return {"updates, or a share from 0% to 100%",
            [](const RunConfig& config) { return config.schedule.warmup; },
            [](RunConfig& config, std::string_view value) {
                if (!value.empty() && value.back() == '%') {
                    const auto share = parse_number(value.substr(0, value.size() - 1));
                    if (!share || *share < 0.0 || *share > 100.0) return false;
                    config.schedule.warmup = number_text(*share) + "%";
                    return true;
                }
                const auto updates = parse_integer(value);
                if (!updates || *updates < 0) return false;
                config.schedule.warmup = std::to_string(*updates);
                return true;
            }};
}

Kind checkpoint_interval() {
    return {"steps from 0 on, or a time such as 90s, 30m or 2h",
            [](const RunConfig& config) {
                const CheckpointInterval& every = config.checkpoint.every;
                return every.seconds > 0 ? duration_text(every.seconds) : std::to_string(every.steps);
            },
            [](RunConfig& config, std::string_view value) {
                const auto steps = parse_integer(value), seconds = parse_duration(value);
                if (steps ? *steps < 0 : !seconds || *seconds == 0) return false;
                config.checkpoint.every = {steps.value_or(0), steps ? 0 : *seconds};
                return true;
            }};
}

Kind device() {
    return {"cpu, cuda or auto", [](const RunConfig& config) { return config.device; },
            [](RunConfig& config, std::string_view value) {
                if (value != "cpu" && value != "cuda" && value != "auto") return false;
                config.device = value;
                return true;
            }};
}

Kind precision() {
    Kind kind = choice(Field{&RunConfig::train, &TrainSection::precision},
                       {{"fp32", Precision::kFp32}, {"bf16", Precision::kBf16}, {"fp16", Precision::kFp16}});
    kind.set = [set = kind.set](RunConfig& config, std::string_view value) {
        return set(config, value == "f32" ? "fp32" : value);  // its name in older checkpoints
    };
    return kind;
}

std::vector<Option> make_table() {
    std::vector<Option> table;
    const RunConfig defaults;
    const auto add = [&](const char* name, OnResume on_resume, Kind kind, const char* help) {
        const std::string initial = kind.get(defaults);
        table.push_back({{name, help, std::move(kind.allowed), initial, on_resume},
                         std::move(kind.get),
                         std::move(kind.set)});
    };
    using enum OnResume;

    add("device", kNotice, device(),
        "where tensors live and are computed; auto: on a GPU if every rank has one");

    const auto model = [](auto member) { return Field{&RunConfig::model, member}; };
    using M = ModelConfig;
    add("model.kind", kRefused,
        choice(model(&M::kind),
               {{"decoder", ModelKind::kDecoder}, {"encoder-decoder", ModelKind::kEncoderDecoder}}),
        "which Transformer; a decoder trains on text, an encoder-decoder on pairs");
    add("model.layers", kRefused, integer(model(&M::layers), 1, 10000), "blocks, of each stack");
    add("model.encoder-layers", kRefused, integer(model(&M::encoder_layers), 0, 10000),
        "blocks of an encoder-decoder's encoder; 0: model.layers");
    add("model.decoder-layers", kRefused, integer(model(&M::decoder_layers), 0, 10000),
        "blocks of an encoder-decoder's decoder; 0: model.layers");
    add("model.heads", kRefused, integer(model(&M::heads), 1, 10000),
        "attention heads; they divide the width");
    add("model.kv-heads", kRefused, integer(model(&M::key_value_heads), 0, 10000),
        "key-value heads; they divide the heads; 0: as many as heads");
    add("model.width", kRefused, integer(model(&M::width), 1, 1 << 20), "elements of a hidden state");
    add("model.ff", kRefused, integer(model(&M::feed_forward), 0, 1 << 22),
        "width inside the feed-forward; 0: four times the width");
    add("model.context", kRefused, integer(model(&M::context), 1, 1 << 24),
        "tokens of a sequence, at most; of pairs, on each side and with the end token");
    add("model.vocabulary", kRefused, integer(model(&M::vocabulary), 0, 1 << 24),
        "token ids, of pairs the target's; 0: what the data says");
    add("model.source-vocabulary", kRefused, integer(model(&M::source_vocabulary), 0, 1 << 24),
        "an encoder-decoder's source token ids; 0: what the data says");
    add("model.norm", kRefused,
        choice(model(&M::norm), {{"pre", NormPlace::kPre}, {"post", NormPlace::kPost}}),
        "layer norm before or after each sublayer");
    add("model.position", kRefused,
        choice(model(&M::position), {{"learned", PositionKind::kLearned},
                                     {"sinusoidal", PositionKind::kSinusoidal},
                                     {"none", PositionKind::kNone}}),
        "position embeddings");
    add("model.activation", kRefused,
        choice(model(&M::activation), {{"relu", ActivationKind::kRelu}, {"gelu", ActivationKind::kGelu}}),
        "inside the feed-forward; gelu is its tanh form");
    add("model.bias", kRefused, boolean(model(&M::bias)), "biases in linear layers and norms");
    add("model.tie-embeddings", kRefused, boolean(model(&M::tie_embeddings)),
        "the output projection is the token embedding, of pairs the target's");
    add("model.share-embeddings", kRefused, boolean(model(&M::share_embeddings)),
        "an encoder-decoder's source and target embeddings are one; wants a joint vocabulary");
    add("model.dropout", kRefused, number(model(&M::dropout), kProbability), "in all four places");
    add("model.dropout-embedding", kRefused, own_dropout(&M::dropout_embedding),
        "of embeddings with positions");
    add("model.dropout-residual", kRefused, own_dropout(&M::dropout_residual), "of every sublayer's output");
    add("model.dropout-attention", kRefused, own_dropout(&M::dropout_attention),
        "of attention probabilities");
    add("model.dropout-ff", kRefused, own_dropout(&M::dropout_feed_forward), "inside the feed-forward");

    const auto train = [](auto member) { return Field{&RunConfig::train, member}; };
    using T = TrainSection;
    add("train.steps", kFree, integer(train(&T::steps), 1), "batches until the run is done");
    add("train.batch", kNotice, integer(train(&T::batch), 0, 1 << 24),
        "sequences of a step, over all ranks; 0: by train.batch-tokens, or 32 without it");
    add("train.batch-tokens", kNotice, integer(train(&T::batch_tokens), 0, 1 << 28),
        "pairs: as many of like length as fit, on each side: pairs times the longest; 0: by train.batch");
    add("train.micro-batch", kNotice, integer(train(&T::micro_batch), 0, 1 << 24),
        "sequences of a pass; 0: a whole lane");
    add("train.micro-batch-tokens", kNotice, integer(train(&T::micro_batch_tokens), 0, 1 << 28),
        "tokens of a pass: its sequences times the longest, but one at least; 0: a whole lane");
    add("train.long-pairs", kNotice,
        choice(
            train(&T::long_pairs),
            {{"error", LongPairs::kError}, {"drop", LongPairs::kDrop}, {"truncate", LongPairs::kTruncate}}),
        "what becomes of a pair of which a side is longer than the context");
    add("train.seed", kRefused, seed(), "of initial values, dropout and the order of the data");
    add("train.label-smoothing", kNotice, number(train(&T::label_smoothing), kProbability),
        "share of the target spread over the vocabulary");
    add("train.clip", kNotice, number(train(&T::clip), {0.0, true}), "largest global gradient norm; 0: none");
    add("train.precision", kNotice, precision(),
        "of weights, activations and matrix products; master weights, sums and statistics are fp32");
    add("train.tf32", kNotice, boolean(train(&T::tf32)),
        "on a GPU, fp32's matrix products round their operands to TF32's 10 bits of fraction");
    add("train.recompute", kFree,
        choice(
            train(&T::recompute),
            {{"none", Recompute::kNone}, {"attention", Recompute::kAttention}, {"block", Recompute::kBlock}}),
        "what backward computes again, to keep less in memory: attention sublayers, or whole layers");
    add("train.loss-scale-start", kNotice,
        number(train(&T::loss_scale_start), {kLeastLossScale, true, kMostLossScale, true}),
        "fp16: what the loss's gradient is multiplied by at first");
    add("train.loss-scale-growth", kNotice, number(train(&T::loss_scale_growth), {1.0, true}),
        "fp16: the loss scale's factor after so many steps without an overflow");
    add("train.loss-scale-interval", kNotice, integer(train(&T::loss_scale_interval), 1),
        "fp16: how many steps those are");
    add("train.loss-scale-backoff", kNotice, number(train(&T::loss_scale_backoff), {0.0, false, 1.0, true}),
        "fp16: the loss scale's factor after an overflow");
    add("train.loss-scale-hysteresis", kNotice, integer(train(&T::loss_scale_hysteresis), 1),
        "fp16: the overflow, counted since the scale last grew, from which on it backs off");
    add("train.max-skipped", kFree, integer(train(&T::max_skipped), 1),
        "steps in a row with a non-finite loss or gradient that end the run; of fp16 those at the least loss "
        "scale");

    add("train.time-limit", kFree, time_limit(),
        "wall clock from a process's start; it saves and exits with 75 before that is over; 0: none but "
        "SLURM's");

    const auto optimizer = [](auto member) { return Field{&RunConfig::optimizer, member}; };
    using O = OptimizerSection;
    add("optimizer.kind", kNotice,
        choice(optimizer(&O::kind), {{"adamw", OptimizerKind::kAdamW}, {"adam", OptimizerKind::kAdam}}),
        "adam adds the decay to the gradient, adamw takes it from the weight");
    add("optimizer.beta1", kNotice, number(optimizer(&O::beta1), kProbability), "memory of the first moment");
    add("optimizer.beta2", kNotice, number(optimizer(&O::beta2), kProbability),
        "memory of the second moment");
    add("optimizer.epsilon", kNotice, number(optimizer(&O::epsilon), {0.0, false}), "added to its root");
    add("optimizer.weight-decay", kNotice, number(optimizer(&O::weight_decay), {0.0, true}),
        "of tensors of rank two or more");

    const auto schedule = [](auto member) { return Field{&RunConfig::schedule, member}; };
    using S = ScheduleSection;
    add("schedule.kind", kNotice,
        choice(schedule(&S::kind), {{"cosine", ScheduleKind::kCosine},
                                    {"linear", ScheduleKind::kLinear},
                                    {"constant", ScheduleKind::kConstant},
                                    {"inverse-sqrt", ScheduleKind::kInverseSqrt},
                                    {"noam", ScheduleKind::kNoam},
                                    {"wsd", ScheduleKind::kWsd}}),
        "the learning rate after warm-up");
    add("schedule.peak", kNotice, number(schedule(&S::peak), {0.0, true}),
        "highest learning rate; for noam the factor of its formula");
    add("schedule.floor", kNotice, number(schedule(&S::floor), {0.0, true}), "learning rate at the horizon");
    add("schedule.warmup", kNotice, warmup(), "updates, or a share of the horizon, of linear rise from 0");
    add("schedule.horizon", kNotice, integer(schedule(&S::horizon), 0),
        "updates until the floor; 0: train.steps of the first start");
    add("schedule.decay-share", kNotice, number(schedule(&S::decay_share), {0.0, true, 1.0, true}),
        "wsd: share of the horizon that decays");

    const auto parallel = [](auto member) { return Field{&RunConfig::parallel, member}; };
    using P = ParallelSection;
    add("parallel.tensor", kFree, integer(parallel(&P::tensor), 1, 4096),
        "ranks that share each layer: a divisor of the heads and of the ranks");
    add("parallel.sequence", kFree, boolean(parallel(&P::sequence)),
        "with --parallel.tensor: norms, dropout and residuals on a slice of the tokens");
    add("parallel.zero", kFree, integer(parallel(&P::zero), 0, 1),
        "1: each data-parallel rank holds the optimizer's state of its slice alone; the bits are the same");
    add("parallel.lanes", kRefused, integer(parallel(&P::lanes), 0, 4096),
        "parts of a batch, a power of two; as many ranks at most; 0: the largest that divides the batch, up "
        "to 8, and 8 for batches by tokens");
    add("parallel.threads", kFree, integer(parallel(&P::threads), 0, 4096),
        "threads of a rank; 0: the cores that it is bound to");
    add("parallel.reduction", kNotice,
        choice(parallel(&P::reduction),
               {{"lanes", GradientReduction::kLanes}, {"fast", GradientReduction::kFast}}),
        "lanes: the same bits on any number of ranks; fast: the library's all-reduce");
    add("parallel.bucket-megabytes", kFree, number(parallel(&P::bucket_megabytes), {0.0, true, 1024.0, true}),
        "gradients sent at once; 0: 1, and 32 over NCCL");
    add("parallel.overlap", kFree, boolean(parallel(&P::overlap)), "gradients travel while backward goes on");
    add("parallel.transport", kFree,
        choice(parallel(&P::transport), {{"auto", TransportChoice::kAuto},
                                         {"mpi", TransportChoice::kMpi},
                                         {"nccl", TransportChoice::kNccl}}),
        "of gradients on GPUs: mpi, through the host's memory; nccl; auto: nccl where it can be had");
    add("parallel.timeout", kFree, number(parallel(&P::timeout), {0.0, false, 1e6, true}),
        "seconds that ranks wait for one that does not come to a collective, before the run ends; not while "
        "saving");

    const auto checkpoint = [](auto member) { return Field{&RunConfig::checkpoint, member}; };
    add("checkpoint.every", kFree, checkpoint_interval(),
        "between checkpoints: steps, or time by the clock; 0: only at the end");
    add("checkpoint.keep", kFree, integer(checkpoint(&CheckpointSection::keep), 1, 1000000),
        "newest checkpoints that stay, beside the best");
    add("checkpoint.background", kFree, boolean(checkpoint(&CheckpointSection::background)),
        "training goes on while a checkpoint is written; on the CPU that takes memory for what a rank "
        "writes");
    add("checkpoint.audit", kFree, integer(checkpoint(&CheckpointSection::audit), 0),
        "steps between comparisons of what the data-parallel ranks have of parameters and moments, which are "
        "then made before every save as well; 0: none");

    const auto eval = [](auto member) { return Field{&RunConfig::eval, member}; };
    add("eval.every", kFree, integer(eval(&EvalSection::every), 0),
        "steps between validations; 0: only at the end");
    add("eval.samples", kFree, integer(eval(&EvalSection::samples), 0),
        "validation windows or pairs, from the first on; 0: all");
    add("eval.patience", kFree, integer(eval(&EvalSection::patience), 0),
        "validations without a better loss that end the run; 0: never");

    const auto log = [](auto member) { return Field{&RunConfig::log, member}; };
    add("log.every", kFree, integer(log(&LogSection::every), 1), "steps between lines of log.jsonl");
    add("log.hash", kFree, integer(log(&LogSection::hash), 0),
        "steps between hashes of the parameters, in log.jsonl and by tensor in hashes.jsonl; there also of "
        "what is saved; 0: none");
    add("log.plain-seconds", kFree, number(log(&LogSection::plain_seconds), {0.0, true}),
        "between progress lines where the output is no terminal");
    return table;
}

const std::vector<Option>& table() {
    static const std::vector<Option> options = make_table();
    return options;
}

std::vector<std::string> option_names() {
    std::vector<std::string> names;
    for (const Option& option : table()) names.push_back(option.info.name);
    return names;
}

const Option& option_named(std::string_view name) {
    for (const Option& option : table()) {
        if (option.info.name == name) return option;
    }
    throw ConfigError(unknown_option_message(name, option_names()));
}

}  // namespace

const std::vector<OptionInfo>& run_options() {
    static const std::vector<OptionInfo> infos = [] {
        std::vector<OptionInfo> all;
        for (const Option& option : table()) all.push_back(option.info);
        return all;
    }();
    return infos;
}

const OptionInfo* find_option(std::string_view name) {
    const auto& infos = run_options();
    const auto found =
        std::find_if(infos.begin(), infos.end(), [&](const OptionInfo& info) { return info.name == name; });
    return found == infos.end() ? nullptr : &*found;
}

void set_option(RunConfig& config, std::string_view name, std::string_view value) {
    const Option& option = option_named(name);
    if (!option.set(config, value)) {
        throw ConfigError(text("option --", name, ": found '", value, "', allowed is ", option.info.allowed));
    }
}

std::string get_option(const RunConfig& config, std::string_view name) {
    return option_named(name).get(config);
}

std::optional<std::string> nearest_option(std::string_view name) {
    return nearest_name(name, option_names());
}

std::string unknown_option_message(std::string_view name, const std::vector<std::string>& candidates) {
    const std::optional<std::string> nearest = nearest_name(name, candidates);
    return nearest ? text("unknown option --", name, ": did you mean --", *nearest, "?")
                   : text("unknown option --", name, ": see --help");
}

Settings to_settings(const RunConfig& config) {
    Settings settings;
    for (const Option& option : table()) settings.emplace_back(option.info.name, option.get(config));
    return settings;
}

RunConfig from_settings(const Settings& settings) {
    RunConfig config;
    for (const auto& [name, value] : settings) set_option(config, name, value);
    return config;
}

}  // namespace skein
