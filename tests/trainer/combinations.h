#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/all_pairs.h"
#include "trainer/options.h"

namespace skein {

constexpr int kHalf = 3, kSteps = 6;

/// "ranks" are data-parallel ones; all else are options.
inline const std::vector<Axis> kAxes{
    {"ranks", {"1", "2", "3"}},
    {"parallel.tensor", {"1", "2"}},
    {"parallel.sequence", {"false", "true"}},
    {"parallel.zero", {"0", "1"}},
    {"parallel.lanes", {"1", "4", "8"}},
    {"parallel.reduction", {"lanes", "fast"}},
    {"parallel.overlap", {"true", "false"}},
    {"parallel.bucket-megabytes", {"1", "0.001"}},
    {"parallel.threads", {"1", "2"}},
    {"train.precision", {"fp32", "bf16", "fp16"}},
    {"train.recompute", {"none", "attention", "block"}},
    {"train.batch-tokens", {"0", "60"}},
    {"train.micro-batch", {"0", "1"}},
    {"train.micro-batch-tokens", {"0", "30"}},
    {"train.long-pairs", {"error", "drop", "truncate"}},
    {"train.label-smoothing", {"0", "0.1"}},
    {"train.clip", {"1", "0", "0.01"}},
    {"train.loss-scale-start", {"1024", "4294967296"}},  // the latter overflows at once
    {"model.kind", {"decoder", "encoder-decoder"}},
    {"model.norm", {"pre", "post"}},
    {"model.position", {"learned", "sinusoidal", "none"}},
    {"model.activation", {"gelu", "relu"}},
    {"model.bias", {"true", "false"}},
    {"model.tie-embeddings", {"true", "false"}},
    {"model.share-embeddings", {"true", "false"}},
    {"model.kv-heads", {"4", "2", "1"}},
    {"model.ff", {"20", "4100"}},  // the latter's are two blocks of an optimizer's slices
    {"model.dropout", {"0.1", "0"}},
    {"model.dropout-attention", {"same", "0.2"}},
    {"model.encoder-layers", {"0", "1"}},
    {"optimizer.kind", {"adamw", "adam"}},
    {"schedule.kind", {"cosine", "linear", "constant", "inverse-sqrt", "noam", "wsd"}},
    {"checkpoint.background", {"true", "false"}},
    {"checkpoint.audit", {"0", "1"}},
    {"eval.every", {"2", "0"}},
    {"eval.patience", {"0", "9"}},
    {"eval.samples", {"0", "5"}},
    {"log.hash", {"0", "2"}},
};

/// Two values that are refused together, and what the refusal says.
struct Refused {
    AxisValue one, other;
    std::string line;
};
inline const std::vector<Refused> kRefused{
    {{"parallel.zero", "1"}, {"parallel.reduction", "fast"}, "option --parallel.zero: found 1, wanted 0 "},
    {{"parallel.tensor", "2"},
     {"parallel.reduction", "fast"},
     "option --parallel.tensor: found 2, wanted 1 "},
    {{"ranks", "2"}, {"parallel.lanes", "1"}, "--parallel.lanes is 1, fewer than the "},
    {{"ranks", "3"}, {"parallel.lanes", "1"}, "--parallel.lanes is 1, fewer than the "},
    {{"train.batch-tokens", "60"},
     {"model.kind", "decoder"},
     "option --train.batch-tokens: found 60, wanted 0"},
    {{"train.micro-batch", "1"},
     {"train.micro-batch-tokens", "30"},
     "option --train.micro-batch: found 1, wanted 0 "},
    {{"eval.patience", "9"}, {"eval.every", "0"}, "option --eval.patience: found 9, wanted 0 "},
};

inline bool may_stand(const AxisValue& one, const AxisValue& other) {
    return std::ranges::none_of(kRefused, [&](const Refused& refused) {
        return (refused.one == one && refused.other == other) ||
               (refused.one == other && refused.other == one);
    });
}

/// The table.
inline std::vector<Row> pairwise_rows() {
    return all_pairs(kAxes, may_stand);
}

/// All values of the axes by which parameters and state are laid out, rounded and saved, each with every
/// other; of the other axes what the rows of the table have in turn, or what may stand.
inline std::vector<Row> product_rows() {
    const std::vector<std::string> names{"ranks",           "parallel.tensor", "parallel.zero",
                                         "train.precision", "train.recompute", "model.kind"};
    const std::vector<Row> table = pairwise_rows();
    std::vector<std::map<std::string, std::string>> products{{}};
    for (const std::string& name : names) {
        std::vector<std::map<std::string, std::string>> longer;
        for (const auto& product : products)
            for (const std::string& value : std::ranges::find(kAxes, name, &Axis::name)->values) {
                longer.push_back(product);
                longer.back()[name] = value;
            }
        products = std::move(longer);
    }
    std::vector<Row> rows;
    for (const auto& product : products) {
        Row row = table[rows.size() % table.size()].with({product.begin(), product.end()});
        for (const Axis& axis : kAxes) {
            if (product.contains(axis.name)) continue;
            const auto stands = [&](const std::string& value) {
                return std::ranges::all_of(row.values, [&](const AxisValue& other) {
                    return may_stand({axis.name, value}, other);
                });
            };
            if (!stands(row[axis.name])) row.values[axis.name] = *std::ranges::find_if(axis.values, stands);
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

/// The value after the row's own.
inline std::string next_value(const Row& row, const std::string& name) {
    return next_value(kAxes, row, name);
}

/// The same run in a layout of which as much differs as may.
inline Row elsewhere(const Row& row) {
    const bool fast = row["parallel.reduction"] == "fast";
    Row other = row;
    for (const char* name : {"parallel.overlap", "parallel.bucket-megabytes", "parallel.threads",
                             "train.recompute", "checkpoint.background", "checkpoint.audit", "log.hash"})
        other.values[name] = next_value(row, name);
    if (row["parallel.tensor"] == "1")
        other.values["parallel.sequence"] = next_value(row, "parallel.sequence");
    if (!fast) other.values["parallel.zero"] = next_value(row, "parallel.zero");
    if (!fast && row["parallel.lanes"] != "1") other.values["ranks"] = next_value(row, "ranks");
    return other;
}

/// The same run as plain as it can be: on one data-parallel rank, with nothing sharded, overlapped,
/// recomputed, or in the background.
inline Row plain(const Row& row) {
    return row.with({{"ranks", "1"},
                     {"parallel.zero", "0"},
                     {"parallel.overlap", "false"},
                     {"parallel.bucket-megabytes", "1"},
                     {"parallel.threads", "1"},
                     {"train.recompute", "none"},
                     {"checkpoint.background", "false"},
                     {"checkpoint.audit", "0"},
                     {"log.hash", "0"}});
}

/// With as much changed as is said to be changed, of what a checkpoint is gone on with by.
inline Row changed(const Row& row) {
    Row other = row;
    for (const Axis& axis : kAxes) {
        const OptionInfo* option = find_option(axis.name);
        if (!option || option->on_resume != OnResume::kNotice || axis.name == "parallel.reduction" ||
            axis.name == "train.long-pairs")  // for which the context is another
            continue;
        const AxisValue next{axis.name, next_value(row, axis.name)};
        if (std::ranges::all_of(other.values, [&](const AxisValue& value) { return may_stand(next, value); }))
            other.values[next.first] = next.second;
    }
    return other;
}

inline bool is_of_pairs(const Row& row) {
    return row["model.kind"] == "encoder-decoder";
}

inline Settings settings_of(const Row& row, int steps) {
    Settings settings{{"model.heads", "4"},
                      {"model.layers", row["model.ff"] == "20" ? "2" : "1"},
                      // some pairs are longer then
                      {"model.context", row["train.long-pairs"] == "error" ? "16" : "10"},
                      {"train.batch", row["train.batch-tokens"] == "0" ? "12" : "0"},
                      {"train.steps", std::to_string(steps)},
                      // the scale grows, and overflows, in the middle of the run
                      {"train.loss-scale-interval", "2"},
                      {"train.loss-scale-growth", "4194304"},
                      {"train.loss-scale-backoff", "0.0000001"},
                      {"schedule.horizon", std::to_string(kSteps)},
                      {"schedule.peak", row["schedule.kind"] == "noam" ? "1" : "0.01"},
                      {"schedule.floor", "0.001"},
                      {"schedule.warmup", "2"},
                      {"checkpoint.every", std::to_string(kHalf)},
                      {"checkpoint.keep", "9"}};
    if (is_of_pairs(row)) settings.emplace_back("model.source-vocabulary", "20");
    for (const auto& [name, value] : row.values)
        if (name != "ranks") settings.emplace_back(name, value);
    return settings;
}

}  // namespace skein
