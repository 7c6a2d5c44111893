#include "model/kernels/cuda/activation.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/math.cuh"

namespace skein::kernels::cuda {

template <class Args>
__device__ inline void drop(const Args& args, std::int64_t r, std::int64_t c, Eight& value) {
    if (args.dropout.threshold == 0) return;
    const Eight mask = mask_of(args.dropout, args.place, r, c);
    for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
}

template <class T>
__global__ void __launch_bounds__(kEightThreads)
    bias_activation_kernel(BiasActivationArgs<T> args, bool aligned) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t at = r * args.width + c, left = args.width - c;
    Eight value = load_eight(args.x + at, left, aligned);
    if (args.bias) add_to(value, load_eight(args.bias + c, left, aligned));
    if (args.activation == Activation::kGelu) {
        if (args.bias) store_eight(args.x + at, value, left, aligned);
        for (int i = 0; i < 8; ++i) value.v[i] = gelu_of(widen(narrow<T>(value.v[i])));
    } else {
        for (int i = 0; i < 8; ++i) value.v[i] = value.v[i] > 0.0f ? value.v[i] : 0.0f;
    }
    drop(args, r, c, value);
    store_eight(args.y + at, value, left, aligned);
}

template <class T>
void bias_activation(CudaStream& stream, const BiasActivationArgs<T>& args) {
    launch<bias_activation_kernel<T>>(grid_of_eights(args.rows, args.width), kEightThreads, stream, args,
                                      rows_are_aligned(args.width, args.x, args.bias, args.y));
}

template <class T>
__global__ void __launch_bounds__(kEightThreads)
    activation_backward_kernel(ActivationBackwardArgs<T> args, bool aligned) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t at = r * args.width + c, left = args.width - c;
    Eight value = load_eight(args.dy + at, left, aligned);
    const Eight kept = load_eight(args.kept + at, left, aligned);
    for (int i = 0; i < 8; ++i) {
        if (args.activation == Activation::kGelu) {
            value.v[i] *= gelu_derivative_of(kept.v[i]);
        } else {
            value.v[i] = kept.v[i] > 0.0f ? value.v[i] : 0.0f;
        }
    }
    drop(args, r, c, value);
    store_eight(args.dx + at, value, left, aligned);
}

template <class T>
void activation_backward(CudaStream& stream, const ActivationBackwardArgs<T>& args) {
    launch<activation_backward_kernel<T>>(grid_of_eights(args.rows, args.width), kEightThreads, stream, args,
                                          rows_are_aligned(args.width, args.dy, args.kept, args.dx));
}

#define SKEIN_ACTIVATION(T)                                                   \
    template void bias_activation(CudaStream&, const BiasActivationArgs<T>&); \
    template void activation_backward(CudaStream&, const ActivationBackwardArgs<T>&);
SKEIN_ACTIVATION(float)
SKEIN_ACTIVATION(Bf16)
SKEIN_ACTIVATION(F16)
#undef SKEIN_ACTIVATION

}  // namespace skein::kernels::cuda
