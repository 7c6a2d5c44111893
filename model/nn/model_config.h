#pragma once

#include <cstdint>
#include <string>

namespace skein {

enum class ModelKind { kDecoder, kEncoderDecoder, kEncoder };
enum class NormPlace { kPre, kPost };
enum class PositionKind { kLearned, kSinusoidal, kNone };
enum class ActivationKind { kRelu, kGelu };

/// The shape of a Transformer. Sizes are numbers of elements; dropout values are probabilities in [0, 1).
struct ModelConfig {
    ModelKind kind = ModelKind::kDecoder;
    std::int64_t layers = 4;
    std::int64_t encoder_layers = 0;  ///< of an encoder-decoder; 0: as many as layers
    std::int64_t decoder_layers = 0;  ///< likewise
    std::int64_t heads = 4;
    std::int64_t key_value_heads = 0;  ///< 0: as many as heads
    std::int64_t width = 128;
    std::int64_t feed_forward = 0;  ///< 0: four times the width
    std::int64_t context = 64;
    std::int64_t vocabulary = 0;         ///< from the data; an encoder-decoder's target side
    std::int64_t source_vocabulary = 0;  ///< an encoder-decoder's source side; 0: the same as vocabulary
    NormPlace norm = NormPlace::kPre;
    PositionKind position = PositionKind::kLearned;
    ActivationKind activation = ActivationKind::kGelu;
    bool bias = true;
    bool tie_embeddings = true;    ///< the output projection is the (target) token embedding
    bool share_embeddings = true;  ///< an encoder-decoder's source and target embeddings are one table
    double dropout = 0.0;          ///< what the four below are where they are negative
    double dropout_embedding = -1.0;
    double dropout_residual = -1.0;
    double dropout_attention = -1.0;
    double dropout_feed_forward = -1.0;

    std::int64_t encoder_depth() const { return encoder_layers > 0 ? encoder_layers : layers; }
    std::int64_t decoder_depth() const { return decoder_layers > 0 ? decoder_layers : layers; }
    std::int64_t source_ids() const { return source_vocabulary > 0 ? source_vocabulary : vocabulary; }
    std::int64_t kv_heads() const { return key_value_heads > 0 ? key_value_heads : heads; }
    std::int64_t ff() const { return feed_forward > 0 ? feed_forward : 4 * width; }
    std::int64_t head_width() const { return width / heads; }
    double embedding_dropout() const { return dropout_embedding >= 0.0 ? dropout_embedding : dropout; }
    double residual_dropout() const { return dropout_residual >= 0.0 ? dropout_residual : dropout; }
    double attention_dropout() const { return dropout_attention >= 0.0 ? dropout_attention : dropout; }
    double feed_forward_dropout() const {
        return dropout_feed_forward >= 0.0 ? dropout_feed_forward : dropout;
    }
};

/// Throws ConfigError, naming the option, what was found and what is allowed, for sizes that do not fit each
/// other.
void validate(const ModelConfig& config);

}  // namespace skein
