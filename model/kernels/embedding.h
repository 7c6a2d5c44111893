#pragma once

#include <cstdint>

#include "model/kernels/elementwise.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// y[r] = dropout(scale · table[ids[r]] + positions[place of r]).  ids: [rows], each in [0, vocabulary);
/// table: [vocabulary, width]; positions: [context, width] or null; y: [rows, width]. table and y are of one
/// dtype, positions of the same or fp32 (sinusoids); y is rounded once.
struct EmbeddingArgs {
    std::int64_t rows = 0, width = 0, vocabulary = 0;
    const std::int32_t* ids = nullptr;
    ConstOperand table{}, positions{};
    float scale = 1.0f;
    Dropout dropout{};
    RowPlace place{};
    Operand y{};
};
void embedding(CpuStream& stream, const EmbeddingArgs& args);
void embedding(CudaStream& stream, const EmbeddingArgs& args);

/// dtable[v] (+)= scale · Σ of dy[r] over the rows with ids[r] = v, in order of r;  dpositions[t] (+)= Σ over
/// samples, in order. dy: [rows, width], after dropout's backward. Where not accumulating, rows of dtable
/// that no id names become zero, and so do positions that no row has. Scratch comes from the
/// stream's pool.
struct EmbeddingBackwardArgs {
    std::int64_t rows = 0, width = 0, vocabulary = 0, context = 0;
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
