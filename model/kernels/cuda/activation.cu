#include "model/kernels/cuda/activation.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/math.cuh"

namespace skein::kernels::cuda {

template <class T, class Aux>
__global__ void __launch_bounds__(kEightThreads)
    activation_kernel(ActivationArgs<T, Aux> args, bool aligned) {
    const auto [r, c] = my_eight(args.width);
    if (r >= args.rows) return;
    const std::int64_t left = args.width - c;
    Eight value = args.x ? load_eight(args.x + r * args.x_stride + c, left, aligned) : eight_of(0.0f);
    if (args.bias) add_to(value, load_eight(args.bias + c, left, aligned));
    const std::int64_t kept_at = r * args.aux_stride + c;
    switch (args.epilogue) {
        case Epilogue::kNone:
            break;
        case Epilogue::kGelu:
            if (args.aux) store_eight(args.aux + kept_at, value, left, aligned);
            for (int i = 0; i < 8; ++i) value.v[i] = gelu_of(value.v[i]);
            break;
        case Epilogue::kRelu:
            for (int i = 0; i < 8; ++i) value.v[i] = value.v[i] > 0.0f ? value.v[i] : 0.0f;
            break;
        case Epilogue::kGeluBackward: {
            const Eight kept = load_eight(args.aux + kept_at, left, aligned);
            for (int i = 0; i < 8; ++i) value.v[i] *= gelu_derivative_of(kept.v[i]);
            break;
        }
        case Epilogue::kReluBackward: {
            const Eight kept = load_eight(args.aux + kept_at, left, aligned);
            for (int i = 0; i < 8; ++i) value.v[i] = kept.v[i] > 0.0f ? value.v[i] : 0.0f;
            break;
        }
    }
    if (args.dropout.threshold != 0) {
        const Eight mask = mask_of(args.dropout, args.place, r, c);
        for (int i = 0; i < 8; ++i) value.v[i] *= mask.v[i];
    }
    store_eight(args.y + r * args.y_stride + c, value, left, aligned);
}

template <class T, class Aux>
void activation(CudaStream& stream, const ActivationArgs<T, Aux>& args) {
    const bool aligned = rows_are_aligned(args.x ? args.x_stride : 0, args.x) &&
                         rows_are_aligned(args.aux ? args.aux_stride : 0, args.aux) &&
                         rows_are_aligned(args.y_stride, args.y) && rows_are_aligned(0, args.bias);
    launch<activation_kernel<T, Aux>>(grid_of_eights(args.rows, args.width), kEightThreads, stream, args,
                                      aligned);
}

template void activation(CudaStream&, const ActivationArgs<float, float>&);
template void activation(CudaStream&, const ActivationArgs<float, Bf16>&);
template void activation(CudaStream&, const ActivationArgs<float, F16>&);
template void activation(CudaStream&, const ActivationArgs<Bf16, Bf16>&);
template void activation(CudaStream&, const ActivationArgs<F16, F16>&);

}  // namespace skein::kernels::cuda
