#include "trainer/utilisation.h"

namespace skein {
namespace {

constexpr double kTera = 1e12;

/// TFLOP/s of dense products; 0: the device has no such product, or no data sheet tells.
struct DevicePeak {
    std::string_view name;  ///< without "NVIDIA " or "Tesla " before it
    double fp32, bf16, fp16;
};

// NVIDIA's figures. V100, A10, A100, L40S, H100 NVL and H200 NVL: the data sheets. H100: "NVIDIA H100 Tensor
// Core GPU Architecture", table of the final SXM5 and PCIe products; H200 has the same chip as SXM5. B200:
// HGX data sheet. RTX 3090 and 4090: "NVIDIA Ampere GA102" and "NVIDIA Ada GPU Architecture", appendix A,
// with sums in fp32. Where a sheet has sparse figures, the half of them.
constexpr DevicePeak kPeaks[] = {
    {"V100-SXM2-16GB", 15.7, 0.0, 125.0},
    {"V100-SXM2-32GB", 15.7, 0.0, 125.0},
    {"V100-PCIE-16GB", 14.0, 0.0, 112.0},
    {"V100-PCIE-32GB", 14.0, 0.0, 112.0},
    {"A10", 31.2, 125.0, 125.0},
    {"A100-SXM4-40GB", 19.5, 312.0, 312.0},
    {"A100-SXM4-80GB", 19.5, 312.0, 312.0},
    {"A100-PCIE-40GB", 19.5, 312.0, 312.0},
    {"A100 80GB PCIe", 19.5, 312.0, 312.0},
    {"L40S", 91.6, 362.0, 362.0},
    {"H100 80GB HBM3", 66.9, 989.4, 989.4},
    {"H100 PCIe", 51.2, 756.0, 756.0},
    {"H100 NVL", 60.0, 835.5, 835.5},
    {"H200", 66.9, 989.4, 989.4},
    {"H200 NVL", 60.0, 835.5, 835.5},
    {"B200", 0.0, 2250.0, 2250.0},
    {"GeForce RTX 3090", 35.6, 71.0, 71.0},
    {"GeForce RTX 4090", 82.6, 165.2, 165.2},
};

double peak_of(const DevicePeak& device, Precision precision) {
    switch (precision) {
        case Precision::kBf16:
            return device.bf16;
        case Precision::kFp16:
            return device.fp16;
        case Precision::kFp32:
            break;
    }
    return device.fp32;
}

}  // namespace

double model_flops_per_token(const ModelConfig& model, double length, double source_length) {
    const auto width = static_cast<double>(model.width);
    const double query_and_output = 2.0 * width * width;
    const double key_and_value = 2.0 * width * static_cast<double>(model.kv_heads() * model.head_width());
    const double feed_forward = 2.0 * width * static_cast<double>(model.ff());
    const double block = query_and_output + key_and_value + feed_forward;
    const auto decoder = static_cast<double>(model.decoder_depth());
    double weights = decoder * block + width * static_cast<double>(model.vocabulary);
    double keys = decoder * length;
    if (model.kind == ModelKind::kEncoderDecoder) {
        const auto encoder = static_cast<double>(model.encoder_depth());
        const double sources = source_length / length;  // source tokens for one target token
        weights += decoder * query_and_output + sources * (encoder * block + decoder * key_and_value);
        keys += decoder * source_length + sources * encoder * source_length;
    }
    return 6.0 * weights + 12.0 * width * keys;
}

std::optional<double> known_peak_flops(std::string_view device_name, Precision precision) {
    for (const std::string_view maker : {"NVIDIA ", "Tesla "})
        if (device_name.starts_with(maker)) device_name.remove_prefix(maker.size());
    for (const DevicePeak& device : kPeaks)
        if (device.name == device_name && peak_of(device, precision) > 0.0)
            return peak_of(device, precision) * kTera;
    return std::nullopt;
}

}  // namespace skein
