#include "model/kernels/layer_norm.h"

#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/row_in_registers.cuh"

namespace skein::kernels {
namespace cuda {

/// x + dropout(delta) at (r, c), stored, and as it was rounded when it was stored.
template <class T, bool kWhole>
__device__ inline Eight add_residual(const LayerNormArgs& args, std::int64_t r, std::int64_t c, Eight x,
                                     const Eight& delta) {
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) x.v[i] = fmaf(delta.v[i], mask.v[i], x.v[i]);
    } else {
        add_to(x, delta);
    }
    store_eight<kWhole>(static_cast<T*>(args.sum.data) + r * args.width + c, x, args.width - c);
    for (int i = 0; i < 8; ++i) x.v[i] = widen(narrow<T>(x.v[i]));
    return x;
}

/// A block a row.
template <class T, int kOwned, bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads) layer_norm_kernel(LayerNormArgs args) {
    const std::int64_t r = block_index();
    const auto width = static_cast<float>(args.width);
    const T* from = static_cast<const T*>(args.x.data) + r * args.width;
    const T* added = args.delta ? static_cast<const T*>(args.delta.data) + r * args.width : from;
    Eight x[kOwned];
    float total = 0.0f;
    for (int k = 0; k < kOwned; ++k) {
        const std::int64_t c = owned_column(k), left = args.width - c;
        x[k] = load_eight<kWhole>(from + c, left);
        const Eight delta = load_eight<kWhole>(added + c, args.delta ? left : 0);
        if (args.delta && left > 0) x[k] = add_residual<T, kWhole>(args, r, c, x[k], delta);
        total += sum_of(x[k]);  // what is past the end is zero
    }
    const float mean = block_sum(total) / width;
    float squares = 0.0f;
    for (int k = 0; k < kOwned; ++k) {
        const std::int64_t left = args.width - owned_column(k);
        Eight square;
        for (int i = 0; i < 8; ++i) {
            x[k].v[i] = i < left ? x[k].v[i] - mean : 0.0f;
            square.v[i] = x[k].v[i] * x[k].v[i];
        }
        squares += sum_of(square);
    }
    const float rstd = 1.0f / sqrtf(block_sum(squares) / width + args.epsilon);
    for (int k = 0; k < kOwned; ++k) {
        const std::int64_t c = owned_column(k), left = args.width - c;
        if (left <= 0) break;
        const Eight gamma = load_eight<kWhole>(args.gamma + c, left);
        const Eight beta = args.beta ? load_eight<kWhole>(args.beta + c, left) : eight_of(0.0f);
        Eight y;
        for (int i = 0; i < 8; ++i) y.v[i] = fmaf(x[k].v[i] * rstd, gamma.v[i], beta.v[i]);
        store_eight<kWhole>(static_cast<T*>(args.y.data) + r * args.width + c, y, left);
    }
    if (thread_index() == 0) {
        if (args.mean) args.mean[r] = mean;
        if (args.rstd) args.rstd[r] = rstd;
    }
}

}  // namespace cuda

using namespace cuda;

void layer_norm(CudaStream& stream, const LayerNormArgs& args) {
    const bool whole = rows_are_aligned(args.width, args.x.data, args.delta.data, args.sum.data, args.gamma,
                                        args.beta, args.y.data);
    for_element_type(args.y.dtype, [&]<class T>() {
        for_row_shape("layer_norm", args.width, [&](int threads, auto owned) {
            for_whole_eights(whole, [&](auto is_whole) {
                launch<layer_norm_kernel<T, decltype(owned)::value, decltype(is_whole)::value>>(
                    {args.rows, 1}, threads, stream, args);
            });
        });
    });
}

}  // namespace skein::kernels
