#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "data/token_shard.h"
#include "model/nn/transformer.h"
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
