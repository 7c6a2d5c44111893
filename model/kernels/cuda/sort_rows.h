#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"

namespace skein::kernels::cuda {

/// Rows grouped by their id: rows of id first_id + v are order[first[v]] ... order[first[v + 1] - 1], in
/// ascending order.
struct RowsById {
    const std::int32_t* order;  ///< [rows]
    const std::int32_t* first;  ///< [count + 1]
};

/// The ids that rows are grouped for.
struct IdRange {
    std::int64_t first_id = 0, count = 0;
    std::int64_t end = 0;  ///< no row has an id as large, be it of the range or not
};

/// Sorts on the device, stably: 8 bits of the ids at a time, as many times as there are bytes in range.end.
/// ids: [rows], each in [0, range.end). The result lies in the workspace of sort_rows_workspace(rows,
/// range.count) integers.
RowsById sort_rows(CudaStream& stream, std::int64_t rows, const IdRange& range, const std::int32_t* ids,
                   std::int32_t* workspace);
std::int64_t sort_rows_workspace(std::int64_t rows, std::int64_t ids);

}  // namespace skein::kernels::cuda
