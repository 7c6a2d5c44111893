#pragma once

#include <optional>
#include <string_view>

#include "model/nn/model_config.h"
#include "trainer/config.h"

namespace skein {

/// Floating-point operations that training wants for one target token, whatever is computed twice or left
/// out: 6 for each weight of a matrix product that the token goes through, 2 forward and 4 backward (Kaplan
/// et al., 2020, section 2.1), and 12 · width · keys for each attention layer (Chowdhery et al., "PaLM",
/// 2022, appendix B; of causal attention too all keys are counted), which for L layers, N weights and T
/// tokens is
///
///     6 N + 12 L · width · T
///
/// as nanoGPT has it, but that N leaves out biases and norms, which are no products. The table of embeddings
/// counts once, as the output projection. With S source tokens for T target tokens, an encoder-decoder's is
///
///     6 (N_target + N_source · S/T) + 12 width (L_decoder · T + L_decoder · S + L_encoder · S · S/T)
///
/// where N_source are the encoder's weights and the cross-attention's for keys and values. `length` is T, the
/// tokens of a sample; `source_length` is S, and 0 for a decoder. Of samples of many lengths, means give the
/// attention's part a little too low.
double model_flops_per_token(const ModelConfig& model, double length, double source_length = 0.0);

/// Most floating-point operations a second of a GPU, of dense products with sums in fp32, as NVIDIA's data
/// sheets have it; fp32 without TF32. `device_name` is what the driver calls it. None for one that is not in
/// the table, a part of one (MIG) included.
std::optional<double> known_peak_flops(std::string_view device_name, Precision precision);

}  // namespace skein
