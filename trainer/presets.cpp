#include "trainer/presets.h"

#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {

namespace {

/// What GPT-2's two presets share. Batch, steps, betas, decay, clip and warm-up: nanoGPT's reproduction on
/// OpenWebText.
Settings gpt2_settings(const char* layers, const char* heads, const char* width, const char* peak,
                       const char* floor) {
    return {{"model.kind", "decoder"},        {"model.layers", layers},          {"model.heads", heads},
            {"model.width", width},           {"model.context", "1024"},         {"model.norm", "pre"},
            {"model.position", "learned"},    {"model.activation", "gelu"},      {"model.bias", "true"},
            {"model.tie-embeddings", "true"}, {"model.dropout", "0.1"},          {"train.steps", "600000"},
            {"train.batch", "512"},           {"train.micro-batch", "4"},        {"train.clip", "1"},
            {"optimizer.kind", "adamw"},      {"optimizer.beta1", "0.9"},        {"optimizer.beta2", "0.95"},
            {"optimizer.epsilon", "1e-08"},   {"optimizer.weight-decay", "0.1"}, {"schedule.kind", "cosine"},
            {"schedule.peak", peak},          {"schedule.floor", floor},         {"schedule.warmup", "2000"}};
}

/// Vaswani et al., 2017: tables 1 and 3, sections 5.1 to 5.4. Batches of about 25,000 source and 25,000
/// target tokens, Adam, and the rate of equation 3.
Settings paper_settings(const char* heads, const char* width, const char* ff, const char* dropout,
                        const char* steps) {
    return {{"model.kind", "encoder-decoder"},
            {"model.layers", "6"},
            {"model.heads", heads},
            {"model.width", width},
            {"model.ff", ff},
            {"model.context", "256"},
            {"model.norm", "post"},
            {"model.position", "sinusoidal"},
            {"model.activation", "relu"},
            {"model.bias", "true"},
            {"model.tie-embeddings", "true"},
            {"model.share-embeddings", "true"},
            {"model.dropout", dropout},
            {"train.steps", steps},
            {"train.batch", "0"},
            {"train.batch-tokens", "25000"},
            {"train.label-smoothing", "0.1"},
            {"train.clip", "0"},
            {"optimizer.kind", "adam"},
            {"optimizer.beta1", "0.9"},
            {"optimizer.beta2", "0.98"},
            {"optimizer.epsilon", "1e-09"},
            {"optimizer.weight-decay", "0"},
            {"schedule.kind", "noam"},
            {"schedule.peak", "1"},
            {"schedule.warmup", "4000"}};
}

/// The sizes of fairseq's published "tiny" Transformer for Multi30k; the rest was chosen so that half an hour
/// on two cores is enough.
Settings multi30k_settings() {
    return {{"model.kind", "encoder-decoder"},
            {"model.layers", "4"},
            {"model.heads", "4"},
            {"model.width", "128"},
            {"model.ff", "256"},
            {"model.context", "128"},
            {"model.norm", "pre"},
            {"model.position", "sinusoidal"},
            {"model.activation", "relu"},
            {"model.dropout", "0.1"},
            {"train.steps", "5500"},
            {"train.batch", "0"},
            {"train.batch-tokens", "3072"},
            {"train.label-smoothing", "0.1"},
            {"optimizer.kind", "adamw"},
            {"optimizer.beta2", "0.98"},
            {"optimizer.weight-decay", "0"},
            {"schedule.kind", "cosine"},
            {"schedule.peak", "0.003"},
            {"schedule.floor", "1e-05"},
            {"schedule.warmup", "500"},
            {"parallel.lanes", "4"},
            {"checkpoint.every", "1000"},
            {"eval.every", "250"}};
}

/// nanoGPT's two settings for Tiny Shakespeare by characters.
Settings shakespeare_settings(const char* layers, const char* heads, const char* width, const char* context,
                              const char* batch, const char* steps, const char* dropout) {
    return {{"model.kind", "decoder"},
            {"model.layers", layers},
            {"model.heads", heads},
            {"model.width", width},
            {"model.context", context},
            {"model.norm", "pre"},
            {"model.position", "learned"},
            {"model.activation", "gelu"},
            {"model.bias", "false"},
            {"model.tie-embeddings", "true"},
            {"model.dropout", dropout},
            {"train.steps", steps},
            {"train.batch", batch},
            {"train.clip", "1"},
            {"optimizer.kind", "adamw"},
            {"optimizer.beta1", "0.9"},
            {"optimizer.beta2", "0.99"},
            {"optimizer.epsilon", "1e-08"},
            {"optimizer.weight-decay", "0.1"},
            {"schedule.kind", "cosine"},
            {"schedule.peak", "0.001"},
            {"schedule.floor", "1e-04"},
            {"schedule.warmup", "100"},
            {"eval.every", "250"}};
}

}  // namespace

const std::vector<Preset>& presets() {
    static const std::vector<Preset> all{
        {"shakespeare-nano", "nanoGPT's CPU quick start on Tiny Shakespeare: 4 layers, width 128",
         shakespeare_settings("4", "4", "128", "64", "12", "2000", "0")},
        {"shakespeare", "nanoGPT's GPU setting on Tiny Shakespeare: 6 layers, width 384",
         shakespeare_settings("6", "6", "384", "256", "64", "5000", "0.2")},
        {"gpt2",
         "GPT-2 124M (Radford et al. 2019): 12 layers, width 768; rate of GPT-3 (Brown et al. 2020), table "
         "2.1",
         gpt2_settings("12", "12", "768", "6e-04", "6e-05")},
        {"gpt2-medium", "GPT-2 350M: 24 layers, width 1024; rate of GPT-3, table 2.1",
         gpt2_settings("24", "16", "1024", "3e-04", "3e-05")},
        {"multi30k", "translation of 29,000 sentence pairs (Multi30k) on two cores: 4 + 4 layers, width 128",
         multi30k_settings()},
        {"transformer-base", "the base model of Vaswani et al., 2017: 6 + 6 layers, width 512",
         paper_settings("8", "512", "2048", "0.1", "100000")},
        {"transformer-big", "the big model of Vaswani et al., 2017: 6 + 6 layers, width 1024",
         paper_settings("16", "1024", "4096", "0.3", "300000")},
    };
    return all;
}

const Preset& preset_named(std::string_view name) {
    std::vector<std::string> names;
    for (const Preset& preset : presets()) {
        if (preset.name == name) return preset;
        names.push_back(preset.name);
    }
    throw ConfigError(text("option --preset: found '", name, "', allowed is ", either(names)));
}

}  // namespace skein
