#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/kernels/elementwise.h"
#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// What is done to an element of the product before it is stored.
enum class Epilogue {
    kNone,
    kGelu,          ///< aux = x, c = gelu(x): the input is kept for backward
    kRelu,          ///< c = max(x, 0)
    kGeluBackward,  ///< c = x · gelu'(aux)
    kReluBackward,  ///< c = aux > 0 ? x : 0, where aux is relu's output
};

/// c = mask · epilogue(op(a) · op(b) + bias) or, with accumulate, c += op(a) · op(b).
/// op(a): [m, k], op(b): [k, n], c and aux: [m, n], row-major with leading dimensions (elements from one row
/// to the next); transpose_a says that a is stored as [k, m], transpose_b that b is stored as [n, k]. bias:
/// [n] or null, added to every row. mask: that of `dropout` over [m, n]. accumulate excludes bias, epilogue
/// and dropout.
///
/// a and b are of one dtype; c is of that or fp32; aux is of a's. Products are summed in fp32; bias, epilogue
/// and mask are taken of that sum, unrounded, and c and aux are rounded once. So gelu(x) is not that of the
/// aux that backward reads, but of what was rounded to it. With accumulate, a 16-bit c is widened, added to
/// in fp32, and rounded once.
struct GemmArgs {
    bool transpose_a = false, transpose_b = false;
    std::int64_t m = 0, n = 0, k = 0;
    ConstOperand a{};
    std::int64_t lda = 0;
    ConstOperand b{};
    std::int64_t ldb = 0;
    Operand c{};
    std::int64_t ldc = 0;
    bool accumulate = false;
    const float* bias = nullptr;
    Epilogue epilogue = Epilogue::kNone;
    Operand aux{};  ///< written by kGelu, read by the backward ones
    std::int64_t ld_aux = 0;
    Dropout dropout{};
    RowPlace place{};  ///< of c
};

/// An element's bits depend on its row of op(a), its column of op(b) and k alone: not on m, n, its place, its
/// layout or the number of threads. k is cut into blocks of at most 384, a cut that depends on k alone. Over
/// a block, the products are summed by fused multiply-adds in the order of k, from zero; the sums of the
/// blocks are added in order, from the first one on, or from c when accumulating (so that with one block c
/// grows in one addition). Then come bias, epilogue and mask. k = 0 gives the epilogue of the bias, or leaves
/// c as it is when accumulating. c and aux must not overlap the operands. Scratch comes from the stream's
/// pool.
void gemm(CpuStream& stream, const GemmArgs& args);
/// The bytes of each block that the CPU's takes of the pool.
std::vector<std::size_t> gemm_scratch(const GemmArgs& args);
/// On a GPU, by cuBLASLt, then bias, epilogue and mask in one pass over c. Throws ShapeError for leading
/// dimensions shorter than a row, addresses off a multiple of the element's size and dtypes that do not go
/// together; CudaError where CUDA refuses.
///
/// Every call gives the same bits, since one plan always runs one algorithm; not those of the CPU, whose sums
/// are grouped in another way. Two things differ from the above:
///   - where c is of 16 bits and there is a bias, an epilogue or a mask, the sum is rounded to c before they
///     are taken of it (half a unit in the last place of the sum), for the product writes c and the pass
///     reads it;
///   - an element's bits may depend on m, n, leading dimensions and alignments, by which the library chooses.
/// With stream.tf32 the operands of fp32 products are rounded to TF32's 10 bits of fraction.
void gemm(CudaStream& stream, const GemmArgs& args);

/// Whose products these are, with its version: bits lean on it.
std::string matmul_library(const CpuStream& stream);
std::string matmul_library(const CudaStream& stream);

}  // namespace skein::kernels
