#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "model/kernels/gemm.h"
#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// A matrix in column-major order, as cuBLASLt sees memory: element (i, j) is `leading` · j + i elements on.
struct LtMatrix {
    DType dtype = DType::f32;
    std::int64_t rows = 0, columns = 0, leading = 0;
    std::int64_t alignment = 0;  ///< bytes; the address is a multiple of it
    friend auto operator<=>(const LtMatrix&, const LtMatrix&) = default;
};

/// What fp32 operands are multiplied as. Sums are fp32 in either case.
enum class LtCompute { kFp32, kTf32 };

/// c = op(a) · op(b), or with accumulate c += op(a) · op(b), in column-major order, where op transposes. What
/// an algorithm is chosen by: two products that are equal here run the same one.
struct LtProduct {
    bool transpose_a = false, transpose_b = false;
    LtMatrix a, b, c;
    bool accumulate = false;
    LtCompute compute = LtCompute::kFp32;
    friend auto operator<=>(const LtProduct&, const LtProduct&) = default;
};

/// "bf16 [768, 1024] by 768 at 16 transposed · ... -> ..." : for messages.
std::string text_of(const LtProduct& product);

/// A product with the places of its matrices.
struct LtCall {
    LtProduct product;
    const void* a = nullptr;
    const void* b = nullptr;
    void* c = nullptr;
};

/// The product of `args`, without its bias and epilogue. Row-major matrices are their own transposes in
/// column-major order, so cᵀ = op(b)ᵀ · op(a)ᵀ is asked for: a and b change places and c needs no
/// transposition. Alignments are promised up to 16 bytes, the longest access there is, so that an algorithm
/// never depends on what else the allocator happened to give. m, n and k are positive. Throws ShapeError as
/// gemm.h says.
LtCall lt_call(const GemmArgs& args, bool tf32);

/// Queues the product. Which algorithm: see lt_matmul.cpp. Throws CudaError, naming the product.
void lt_matmul(CudaStream& stream, const LtCall& call);

/// "cuBLASLt 13.1.0".
std::string lt_version();

}  // namespace skein::kernels::cuda
