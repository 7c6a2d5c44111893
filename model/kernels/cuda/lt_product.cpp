#include "model/kernels/cuda/lt_product.h"

#include <algorithm>

#include "model/base/error.h"

namespace skein::kernels::cuda {
namespace {

constexpr std::int64_t kLongestAccess = 16;  // bytes

/// The largest power of two, kLongestAccess at most, of which the address is a multiple.
std::int64_t alignment_of(const void* address) {
    const auto bits = reinterpret_cast<std::uintptr_t>(address);
    const auto lowest = static_cast<std::int64_t>(bits & (~bits + 1));
    return lowest == 0 ? kLongestAccess : std::min(lowest, kLongestAccess);
}

bool is_element_type(DType dtype) {
    return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

/// A row-major matrix as its transpose in column-major order.
LtMatrix transposed(const char* name, ConstOperand x, std::int64_t rows, std::int64_t columns,
                    std::int64_t leading) {
    const LtMatrix matrix{x.dtype, columns, rows, leading, alignment_of(x.data)};
    if (leading < columns)
        throw ShapeError(text("gemm: ", name, " has a row every ", leading, " elements, wanted at least the ",
                              columns, " of a row"));
    if (matrix.alignment < static_cast<std::int64_t>(size_of(x.dtype)))
        throw ShapeError(text("gemm: ", name, " lies at ", x.data, ", wanted a multiple of its element's ",
                              size_of(x.dtype), " bytes"));
    return matrix;
}

std::string text_of(const LtMatrix& matrix) {
    return text(name_of(matrix.dtype), " [", matrix.rows, ", ", matrix.columns, "] by ", matrix.leading,
                " at ", matrix.alignment);
}

}  // namespace

std::string text_of(const LtProduct& product) {
    return text(text_of(product.a), product.transpose_a ? " transposed" : "", " · ", text_of(product.b),
                product.transpose_b ? " transposed" : "", product.accumulate ? " added to " : " in ",
                text_of(product.c), product.compute == LtCompute::kTf32 ? ", TF32" : "");
}

LtCall lt_call(const GemmArgs& args, bool tf32) {
    if (args.a.dtype != args.b.dtype || !is_element_type(args.a.dtype))
        throw ShapeError(text("gemm: operands are ", name_of(args.a.dtype), " and ", name_of(args.b.dtype),
                              ", wanted two of f32, bf16 or f16"));
    if (!args.c.is_f32() && args.c.dtype != args.a.dtype)
        throw ShapeError(text("gemm: c is ", name_of(args.c.dtype), ", wanted f32 or the operands' ",
                              name_of(args.a.dtype)));
    LtCall call;
    LtProduct& product = call.product;
    product.transpose_a = args.transpose_b;
    product.transpose_b = args.transpose_a;
    product.a = args.transpose_b ? transposed("b", args.b, args.n, args.k, args.ldb)
                                 : transposed("b", args.b, args.k, args.n, args.ldb);
    product.b = args.transpose_a ? transposed("a", args.a, args.k, args.m, args.lda)
                                 : transposed("a", args.a, args.m, args.k, args.lda);
    product.c = transposed("c", args.c, args.m, args.n, args.ldc);
    product.accumulate = args.accumulate;
    product.compute = tf32 && args.a.is_f32() ? LtCompute::kTf32 : LtCompute::kFp32;
    call.a = args.b.data;
    call.b = args.a.data;
    call.c = args.c.data;
    return call;
}

}  // namespace skein::kernels::cuda
