#include "model/nn/model_config.h"

#include "model/base/error.h"

namespace skein {
namespace {

void at_least_one(const char* option, std::int64_t value) {
    if (value < 1) throw ConfigError(text(option, ": found ", value, ", wanted at least 1"));
}

void probability(const char* option, double value) {
    if (!(value >= 0.0 && value < 1.0))
        throw ConfigError(text(option, ": found ", value, ", wanted a probability in [0, 1)"));
}

}  // namespace

void validate(const ModelConfig& config) {
    if (config.key_value_heads < 0)
        throw ConfigError(text("--model.kv-heads: found ", config.key_value_heads,
                               ", wanted 0 (as many as heads) or more"));
    if (config.feed_forward < 0)
        throw ConfigError(
            text("--model.ff: found ", config.feed_forward, ", wanted 0 (four times the width) or more"));
    if (config.encoder_layers < 0)
        throw ConfigError(text("--model.encoder-layers: found ", config.encoder_layers,
                               ", wanted 0 (--model.layers) or more"));
    if (config.decoder_layers < 0)
        throw ConfigError(text("--model.decoder-layers: found ", config.decoder_layers,
                               ", wanted 0 (--model.layers) or more"));
    at_least_one("--model.layers", config.layers);
    at_least_one("--model.heads", config.heads);
    at_least_one("--model.width", config.width);
    at_least_one("--model.ff", config.ff());
    at_least_one("--model.context", config.context);
    at_least_one("--model.vocabulary", config.vocabulary);
    if (config.width % config.heads != 0)
        throw ConfigError(text("--model.width: found ", config.width,
                               ", wanted a multiple of --model.heads (", config.heads, ")"));
    if (config.heads % config.kv_heads() != 0)
        throw ConfigError(text("--model.kv-heads: found ", config.kv_heads(),
                               ", wanted a divisor of --model.heads (", config.heads, ")"));
    if (config.source_vocabulary < 0)
        throw ConfigError(text("--model.source-vocabulary: found ", config.source_vocabulary,
                               ", wanted 0 (as the target's) or more"));
    if (config.kind == ModelKind::kEncoderDecoder && config.share_embeddings &&
        config.source_ids() != config.vocabulary)
        throw ConfigError(text("--model.share-embeddings: found true for vocabularies of ",
                               config.source_ids(), " and ", config.vocabulary,
                               ", wanted false or one joint vocabulary"));
    probability("--model.dropout", config.dropout);
    probability("--model.dropout-embedding", config.embedding_dropout());
    probability("--model.dropout-residual", config.residual_dropout());
    probability("--model.dropout-attention", config.attention_dropout());
    probability("--model.dropout-feed-forward", config.feed_forward_dropout());
}

}  // namespace skein
