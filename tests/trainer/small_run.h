#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "data/data_folder.h"
#include "data/pair_shard.h"
#include "data/token_shard.h"
#include "model/nn/parameter.h"
#include "trainer/options.h"
#include "trainer/run_rules.h"

namespace skein {

constexpr std::int64_t kSmallVocabulary = 20;

/// A decoder of a few thousand parameters, with dropout, on batches of 12 windows of 8 tokens in four lanes;
/// `changes` on top.
inline RunConfig small_config(const Settings& changes = {}) {
    Settings settings{{"model.layers", "2"},  {"model.width", "16"},    {"model.heads", "2"},
                      {"model.context", "8"}, {"model.dropout", "0.1"}, {"model.vocabulary", "20"},
                      {"train.batch", "12"},  {"parallel.lanes", "4"},  {"train.steps", "100"}};
    for (const auto& change : changes) {
        std::erase_if(settings, [&](const auto& setting) { return setting.first == change.first; });
        settings.push_back(change);
    }
    return effective(from_settings(settings));
}

/// Ids that follow each other by a rule, so that there is something to learn.
inline std::vector<std::int32_t> small_text(std::int64_t count, std::int32_t start = 1) {
    std::vector<std::int32_t> ids;
    for (std::int32_t id = start; std::ssize(ids) < count;
         id = (id * 7 + 3 + static_cast<std::int32_t>(ids.size() % 3)) % 20)
        ids.push_back(id);
    return ids;
}

/// Writes PREFIX-00000.h5 and returns the shards.
inline std::vector<ShardEntry> write_small_shard(const std::string& folder, const std::string& prefix,
                                                 std::int64_t tokens, std::int32_t start) {
    ShardWriter writer(folder, prefix, {kSmallVocabulary, "", ""}, false, 1u << 20);
    writer.append(small_text(tokens, start));
    return writer.finish();
}

/// An encoder-decoder as small, on batches of pairs of like length in four lanes, some of which are empty.
inline RunConfig small_pair_config(const Settings& changes = {}) {
    Settings settings{{"model.kind", "encoder-decoder"}, {"model.layers", "1"}, {"model.context", "16"},
                      {"model.source-vocabulary", "20"}, {"train.batch", "0"},  {"train.batch-tokens", "40"},
                      {"model.position", "sinusoidal"},  {"model.norm", "post"}};
    settings.insert(settings.end(), changes.begin(), changes.end());
    return small_config(settings);
}

/// Sentences of 1 to 12 ids on a side, all different; the target is the source backwards.
inline std::vector<ShardEntry> write_small_pairs(const std::string& folder, const std::string& prefix,
                                                 std::int64_t pairs) {
    const ShardHeader header{kSmallVocabulary, "", ""};
    PairWriter writer(folder, prefix, {header, header}, 1u << 20);
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
        std::vector<std::int32_t> ids;
        for (std::int64_t i = 0; i <= pair * 5 % 12; ++i)
            ids.push_back(static_cast<std::int32_t>(4 + (pair + i * (1 + pair / 16)) % 16));
        writer.append(ids, std::vector<std::int32_t>(ids.rbegin(), ids.rend()));
    }
    return writer.finish();
}

/// As open_data_folder gives it, for shards without an index.
inline DataFolder small_folder(const std::string& path, std::vector<ShardEntry> train,
                               std::vector<ShardEntry> valid, DataKind kind = DataKind::kStream) {
    DataFolder folder;
    folder.path = path;
    folder.kind = kind;
    folder.header = folder.source_header = {kSmallVocabulary, "", ""};
    folder.train = std::move(train);
    folder.valid = std::move(valid);
    return folder;
}

/// All parameters, one after the other.
inline std::vector<float> values_of(const ParameterList& parameters) {
    std::vector<float> all;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto values = parameters[i].leaf.value.span<float>();
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

}  // namespace skein
