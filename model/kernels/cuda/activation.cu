#include "model/kernels/cuda/activation.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/math.cuh"

namespace skein::kernels::cuda {

template <class T, class Aux, bool kWhole>
__global__ void __launch_bounds__(kEightThreads) activation_kernel(ActivationArgs<T, Aux> args) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t left = args.width - c;
    const T* x = args.x ? args.x + r * args.x_stride + c : nullptr;
    Eight value = load_eight<kWhole>(x, x ? left : 0);
    if (args.bias) add_to(value, load_eight<kWhole>(args.bias + c, left));
    const std::int64_t kept_at = r * args.aux_stride + c;
    switch (args.epilogue) {
        case Epilogue::kNone:
            break;
        case Epilogue::kGelu:
            if (args.aux) store_eight<kWhole>(args.aux + kept_at, value, left);
            for (int i = 0; i < 8; ++i) value.v[i] = gelu_of(value.v[i]);
            break;
        case Epilogue::kRelu:
            for (int i = 0; i < 8; ++i) value.v[i] = value.v[i] > 0.0f ? value.v[i] : 0.0f;
            break;
        case Epilogue::kGeluBackward: {
            const Eight kept = load_eight<kWhole>(args.aux + kept_at, left);
            for (int i = 0; i < 8; ++i) value.v[i] *= gelu_derivative_of(kept.v[i]);
            break;
        }
        case Epilogue::kReluBackward: {
            const Eight kept = load_eight<kWhole>(args.aux + kept_at, left);
            for (int i = 0; i < 8; ++i) value.v[i] = kept.v[i] > 0.0f ? value.v[i] : 0.0f;
            break;
        }
    }
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    }
    store_eight<kWhole>(args.y + r * args.y_stride + c, value, left);
}

template <class T, class Aux>
void activation(CudaStream& stream, const ActivationArgs<T, Aux>& args) {
    const bool whole =
        rows_are_aligned(args.width, args.bias) && rows_are_aligned(args.x ? args.x_stride : 0, args.x) &&
        rows_are_aligned(args.aux ? args.aux_stride : 0, args.aux) && rows_are_aligned(args.y_stride, args.y);
    for_whole_eights(whole, [&](auto is_whole) {
        launch<activation_kernel<T, Aux, decltype(is_whole)::value>>(grid_of_eights(args.rows, args.width),
                                                                     kEightThreads, stream, args);
    });
}

template void activation(CudaStream&, const ActivationArgs<float, float>&);
template void activation(CudaStream&, const ActivationArgs<float, Bf16>&);
template void activation(CudaStream&, const ActivationArgs<float, F16>&);
template void activation(CudaStream&, const ActivationArgs<Bf16, Bf16>&);
template void activation(CudaStream&, const ActivationArgs<F16, F16>&);

}  // namespace skein::kernels::cuda
