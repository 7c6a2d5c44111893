#include "model/kernels/gemm.h"

#include "model/base/error.h"
#include "model/kernels/cuda/activation.h"
#include "model/kernels/cuda/lt_product.h"

namespace skein::kernels {
namespace {

/// c = mask · epilogue(c + bias), where c stands for zeros if there was no product.
template <class T, class Aux>
void finish(CudaStream& stream, const GemmArgs& args, bool zeros) {
    T* const c = static_cast<T*>(args.c.data);
    cuda::ActivationArgs<T, Aux> pass{.rows = args.m, .width = args.n, .epilogue = args.epilogue};
    pass.x = zeros ? nullptr : c;
    pass.x_stride = pass.y_stride = args.ldc;
    pass.bias = args.bias;
    if (args.epilogue == Epilogue::kGelu || args.epilogue == Epilogue::kGeluBackward ||
        args.epilogue == Epilogue::kReluBackward) {
        pass.aux = static_cast<Aux*>(args.aux.data);
        pass.aux_stride = args.ld_aux;
    }
    pass.dropout = args.dropout;
    pass.place = args.place;
    pass.y = c;
    cuda::activation(stream, pass);
}

void finish(CudaStream& stream, const GemmArgs& args, bool zeros) {
    const DType aux = args.a.dtype;
    if (args.aux && args.aux.dtype != aux)
        throw ShapeError(
            text("gemm: aux is ", name_of(args.aux.dtype), ", wanted the operands' ", name_of(aux)));
    if (args.c.dtype == DType::bf16) return finish<Bf16, Bf16>(stream, args, zeros);
    if (args.c.dtype == DType::f16) return finish<F16, F16>(stream, args, zeros);
    if (aux == DType::bf16) return finish<float, Bf16>(stream, args, zeros);
    if (aux == DType::f16) return finish<float, F16>(stream, args, zeros);
    finish<float, float>(stream, args, zeros);
}

}  // namespace

void gemm(CudaStream& stream, const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    if (args.k > 0) cuda::lt_matmul(stream, cuda::lt_call(args, stream.tf32));
    if (args.accumulate) return;
    if (args.k <= 0 || args.bias || args.epilogue != Epilogue::kNone || args.dropout)
        finish(stream, args, args.k <= 0);
}

std::string matmul_library(const CudaStream&) {
    return cuda::lt_version();
}

}  // namespace skein::kernels
