#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// Rows grouped by their id: rows of id v are order[first[v]] ... order[first[v + 1] - 1], in ascending
/// order.
struct RowsById {
    const std::int32_t* order;  ///< [rows]
    const std::int32_t* first;  ///< [vocabulary + 1]
};

/// Sorts on the device, stably: 8 bits of the ids at a time, as many times as the vocabulary has bytes. ids:
/// [rows], each in [0, vocabulary). The result lies in the workspace of sort_rows_workspace(rows, vocabulary)
/// integers.
RowsById sort_rows(CudaStream& stream, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* ids,
                   std::int32_t* workspace);
std::int64_t sort_rows_workspace(std::int64_t rows, std::int64_t vocabulary);

}  // namespace skein::kernels::cuda
