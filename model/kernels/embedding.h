#pragma once

#include <cstdint>

#include "model/kernels/elementwise.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// y[r] = dropout(scale · table[ids[r] - first_id] + positions[place of r]), and 0 for an id that the table
/// does not have.  ids: [rows]; table: [vocabulary, width], of the ids first_id ... first_id + vocabulary -
/// 1; positions: [context, width] or null; y: [rows, width]. table and y are of one dtype, positions of the
/// same or fp32 (sinusoids); y is rounded once.
struct EmbeddingArgs {
    std::int64_t rows = 0, width = 0, vocabulary = 0, first_id = 0;
    const std::int32_t* ids = nullptr;
    ConstOperand table{}, positions{};
    float scale = 1.0f;
    Dropout dropout{};
    RowPlace place{};
    Operand y{};
};
void embedding(CpuStream& stream, const EmbeddingArgs& args);
void embedding(CudaStream& stream, const EmbeddingArgs& args);

/// dtable[v] (+)= scale · Σ of dy[r] over the rows with ids[r] = first_id + v, in order of r;  dpositions[t]
/// (+)= Σ over all samples, in order. dy: [rows, width], after dropout's backward. Where not accumulating,
/// rows of dtable that no id names become zero, and so do positions that no row has. Scratch comes from the
/// stream's pool.
struct EmbeddingBackwardArgs {
    std::int64_t rows = 0, width = 0, vocabulary = 0, first_id = 0, context = 0;
    std::int64_t ids_end = 0;  ///< no id is as large; if less, first_id + vocabulary
    const std::int32_t* ids = nullptr;
    ConstOperand dy{};
    float scale = 1.0f;
    RowPlace place{};
    float* dtable = nullptr;  ///< or null
    bool accumulate_table = false;
    float* dpositions = nullptr;  ///< or null
    bool accumulate_positions = false;
};
void embedding_backward(CpuStream& stream, const EmbeddingBackwardArgs& args);
void embedding_backward(CudaStream& stream, const EmbeddingBackwardArgs& args);

}  // namespace skein::kernels
