#include "model/nn/sharing.h"

#include "model/base/error.h"

namespace skein {

void check_sharing(const ModelConfig& config, int ranks) {
    if (ranks == 1) return;
    const auto refuse = [&](const char* option, std::int64_t found, const std::string& wanted) {
        throw ConfigError(text("option --parallel.tensor: found ", ranks, ", but --model.", option, " is ",
                               found, ", wanted ", wanted));
    };
    if (config.heads % ranks != 0) refuse("heads", config.heads, "a multiple of the ranks");
    if (config.kv_heads() % ranks != 0 && ranks % config.kv_heads() != 0)
        refuse("kv-heads", config.kv_heads(), "a multiple or a divisor of the ranks");
    const std::int64_t least = std::int64_t{TensorSharing::kGrain} * ranks;
    if (config.ff() < least) refuse("ff", config.ff(), text("at least ", least));
    for (const std::int64_t ids : {config.vocabulary, config.source_ids()})
        if (ids < least) refuse("vocabulary", ids, text("at least ", least));
}

}  // namespace skein
