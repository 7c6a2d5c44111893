// Stands in for cuBLASLt on the CPU: runs a product as it is described, column by column, and is strict about
// what the description promises.
#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "model/base/error.h"
#include "model/kernels/cuda/lt_product.h"
#include "tests/support/cuda_runtime_shim.h"

namespace skein::kernels::cuda {
namespace {

void require(bool holds, const LtProduct& product, const char* what) {
    if (!holds) throw std::logic_error(text(what, ": ", text_of(product)));
}

void check_matrix(const LtMatrix& matrix, const void* data, const LtProduct& product) {
    require(matrix.rows > 0 && matrix.columns > 0, product, "an empty matrix");
    require(matrix.leading >= matrix.rows, product, "columns overlap");
    const auto size = static_cast<std::int64_t>(size_of(matrix.dtype));
    require(matrix.alignment >= size && matrix.alignment % size == 0, product,
            "the promised alignment is not of elements");
    require(reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(matrix.alignment) == 0,
            product, "an address breaks the promised alignment");
}

float element(ConstOperand x, std::int64_t at) {
    if (x.dtype == DType::bf16) return to_float(static_cast<const Bf16*>(x.data)[at]);
    if (x.dtype == DType::f16) return to_float(static_cast<const F16*>(x.data)[at]);
    return x.f32()[at];
}

void set_element(Operand x, std::int64_t at, float value) {
    if (x.dtype == DType::bf16)
        static_cast<Bf16*>(x.data)[at] = to_bf16(value);
    else if (x.dtype == DType::f16)
        static_cast<F16*>(x.data)[at] = to_f16(value);
    else
        x.f32()[at] = value;
}

/// Rounded to TF32's 10 bits of fraction, ties away from zero as the hardware's conversion has it.
float to_tf32(float x) {
    return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & 0xFFFFE000u);
}

void multiply(ConstOperand a, ConstOperand b, Operand c, std::int64_t k, const LtProduct& p) {
    for (std::int64_t j = 0; j < p.c.columns; ++j) {
        for (std::int64_t i = 0; i < p.c.rows; ++i) {
            float sum = 0.0f;
            for (std::int64_t q = 0; q < k; ++q) {
                const float x = element(a, p.transpose_a ? i * p.a.leading + q : q * p.a.leading + i);
                const float y = element(b, p.transpose_b ? q * p.b.leading + j : j * p.b.leading + q);
                sum += p.compute == LtCompute::kTf32 ? to_tf32(x) * to_tf32(y) : x * y;
            }
            const std::int64_t at = j * p.c.leading + i;
            if (p.accumulate) sum += element(c, at);
            set_element(c, at, sum);
        }
    }
}

}  // namespace

std::string lt_version() {
    return "cuBLASLt on the CPU";
}

void lt_matmul(CudaStream& stream, const LtCall& call) {
    const LtProduct& p = call.product;
    check_matrix(p.a, call.a, p);
    check_matrix(p.b, call.b, p);
    check_matrix(p.c, call.c, p);
    require(p.a.dtype == p.b.dtype && (p.c.dtype == p.a.dtype || p.c.dtype == DType::f32), p,
            "element types that do not go together");
    require(p.compute == LtCompute::kFp32 || p.a.dtype == DType::f32, p, "TF32 of 16 bits");
    const std::int64_t k = p.transpose_a ? p.a.rows : p.a.columns;
    require((p.transpose_a ? p.a.columns : p.a.rows) == p.c.rows, p, "op(a) and c have other rows");
    require((p.transpose_b ? p.b.rows : p.b.columns) == p.c.columns, p, "op(b) and c have other columns");
    require((p.transpose_b ? p.b.columns : p.b.rows) == k, p, "op(a) and op(b) do not go together");
    const ConstOperand a(call.a, p.a.dtype), b(call.b, p.b.dtype);
    const Operand c(call.c, p.c.dtype);
    test::shim::queue_on(stream.handle, [a, b, c, k, p] { multiply(a, b, c, k, p); });
}

}  // namespace skein::kernels::cuda
