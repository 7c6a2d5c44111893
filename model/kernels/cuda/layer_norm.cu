#include "model/kernels/layer_norm.h"

#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/row_in_registers.cuh"

namespace skein::kernels {
namespace cuda {

/// x + dropout(delta) at (r, c), stored, and as it was rounded when it was stored.
template <class T>
__device__ inline Eight add_residual(const LayerNormArgs& args, std::int64_t r, std::int64_t c, Eight x,
                                     bool aligned) {
    const std::int64_t at = r * args.width + c, left = args.width - c;
    const Eight delta = load_eight(static_cast<const T*>(args.delta.data) + at, left, aligned);
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) x.v[i] = fmaf(delta.v[i], mask.v[i], x.v[i]);
    } else {
        add_to(x, delta);
    }
    store_eight(static_cast<T*>(args.sum.data) + at, x, left, aligned);
    for (int i = 0; i < 8; ++i) x.v[i] = widen(narrow<T>(x.v[i]));
    return x;
}

/// A block a row.
template <class T, int kOwned>
__global__ void __launch_bounds__(kMostRowThreads) layer_norm_kernel(LayerNormArgs args, bool aligned) {
    const std::int64_t r = block_index();
    const auto width = static_cast<float>(args.width);
    Eight x[kOwned];
    float total = 0.0f;
    for (int k = 0; k < kOwned; ++k) {
        const std::int64_t c = owned_column(k), left = args.width - c;
        x[k] = load_eight(static_cast<const T*>(args.x.data) + r * args.width + c, left, aligned);
        if (args.delta && left > 0) x[k] = add_residual<T>(args, r, c, x[k], aligned);
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
        const Eight gamma = load_eight(args.gamma + c, left, aligned);
        const Eight beta = args.beta ? load_eight(args.beta + c, left, aligned) : eight_of(0.0f);
        Eight y;
        for (int i = 0; i < 8; ++i) y.v[i] = fmaf(x[k].v[i] * rstd, gamma.v[i], beta.v[i]);
        store_eight(static_cast<T*>(args.y.data) + r * args.width + c, y, left, aligned);
    }
    if (thread_index() == 0) {
        if (args.mean) args.mean[r] = mean;
        if (args.rstd) args.rstd[r] = rstd;
    }
}

}  // namespace cuda

using namespace cuda;

void layer_norm(CudaStream& stream, const LayerNormArgs& args) {
    const bool aligned = rows_are_aligned(args.width, args.x.data, args.delta.data, args.sum.data, args.gamma,
                                          args.beta, args.y.data);
    for_element_type(args.y.dtype, [&]<class T>() {
        for_row_shape("layer_norm", args.width, [&](int threads, auto owned) {
            launch<layer_norm_kernel<T, decltype(owned)::value>>({args.rows, 1}, threads, stream, args,
                                                                 aligned);
        });
    });
}

}  // namespace skein::kernels
