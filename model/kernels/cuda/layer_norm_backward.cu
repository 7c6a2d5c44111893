#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/row_in_registers.cuh"
#include "model/kernels/layer_norm.h"

namespace skein::kernels {
namespace cuda {

inline constexpr std::int64_t kNormPartRows = 16;

/// A block takes a part of 16 rows, one after the other, and keeps its sums of dgamma and dbeta in registers.
/// They become a row of gamma_parts and of beta_parts, both [parts, width].
template <class T, int kOwned, bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads)
    layer_norm_backward_kernel(LayerNormBackwardArgs args, float* gamma_parts, float* beta_parts) {
    const auto width = static_cast<float>(args.width);
    const std::int64_t first = block_index() * kNormPartRows,
                       end = std::min(args.rows, first + kNormPartRows);
    Eight gamma[kOwned], gamma_sums[kOwned], beta_sums[kOwned];
    for (int k = 0; k < kOwned; ++k) {
        gamma[k] = load_eight<kWhole>(args.gamma + owned_column(k), args.width - owned_column(k));
        gamma_sums[k] = beta_sums[k] = eight_of(0.0f);
    }
    for (std::int64_t r = first; r < end; ++r) {
        const float mean = args.mean[r], rstd = args.rstd[r];
        Eight n[kOwned], g[kOwned];
        float sums[2] = {0.0f, 0.0f};  // of g and of g · n
        for (int k = 0; k < kOwned; ++k) {
            const std::int64_t c = owned_column(k), left = args.width - c;
            const std::int64_t at = r * args.width + c;
            n[k] = load_eight<kWhole>(static_cast<const T*>(args.sum.data) + at, left);
            const Eight dy = load_eight<kWhole>(static_cast<const T*>(args.dy.data) + at, left);
            Eight product;
            for (int i = 0; i < 8; ++i) {
                n[k].v[i] = (n[k].v[i] - mean) * rstd;
                g[k].v[i] = dy.v[i] * gamma[k].v[i];  // 0 past the end, whatever n is there
                product.v[i] = g[k].v[i] * n[k].v[i];
                gamma_sums[k].v[i] = fmaf(dy.v[i], n[k].v[i], gamma_sums[k].v[i]);
            }
            add_to(beta_sums[k], dy);
            sums[0] += sum_of(g[k]);
            sums[1] += sum_of(product);
        }
        block_sums(sums);
        const float g_mean = sums[0] / width, gn_mean = sums[1] / width;
        for (int k = 0; k < kOwned; ++k) {
            const std::int64_t c = owned_column(k), left = args.width - c;
            if (left <= 0) break;
            T* dsum = static_cast<T*>(args.dsum.data) + r * args.width + c;
            Eight out;
            for (int i = 0; i < 8; ++i) out.v[i] = rstd * (g[k].v[i] - g_mean - n[k].v[i] * gn_mean);
            if (args.accumulate_sum) add_to(out, load_eight<kWhole>(dsum, left));
            store_eight<kWhole>(dsum, out, left);
        }
    }
    for (int k = 0; k < kOwned; ++k) {
        const std::int64_t c = owned_column(k), left = args.width - c;
        if (left <= 0) break;
        store_eight<kWhole>(gamma_parts + block_index() * args.width + c, gamma_sums[k], left);
        store_eight<kWhole>(beta_parts + block_index() * args.width + c, beta_sums[k], left);
    }
}

}  // namespace cuda

using namespace cuda;

void layer_norm_backward(CudaStream& stream, const LayerNormBackwardArgs& args) {
    const std::int64_t parts = divide_up(args.rows, kNormPartRows);
    const auto bytes = static_cast<std::size_t>(parts * args.width) * sizeof(float);
    const BlockRef of_gamma = stream.pool->allocate(bytes), of_beta = stream.pool->allocate(bytes);
    auto* gamma_parts = reinterpret_cast<float*>(of_gamma.get()->data);
    auto* beta_parts = reinterpret_cast<float*>(of_beta.get()->data);
    const bool whole = rows_are_aligned(args.width, args.sum.data, args.gamma, args.dy.data, args.dsum.data,
                                        gamma_parts, beta_parts);
    for_element_type(args.dy.dtype, [&]<class T>() {
        for_row_shape("layer_norm_backward", args.width, [&](int threads, auto owned) {
            for_whole_eights(whole, [&](auto is_whole) {
                launch<layer_norm_backward_kernel<T, decltype(owned)::value, decltype(is_whole)::value>>(
                    {parts, 1}, threads, stream, args, gamma_parts, beta_parts);
            });
        });
    });
    column_sums(stream, parts, args.width, gamma_parts, args.dgamma, args.accumulate_gamma);
    if (args.dbeta) column_sums(stream, parts, args.width, beta_parts, args.dbeta, args.accumulate_beta);
}

}  // namespace skein::kernels
