#pragma once

#include <cstdint>

/// Copies of operands in the order in which tiles read them: panels of `width` lines side by side, one panel
/// after the other; within a panel, element (j, p) of line j and step p stands at p * width + j. Lines that
/// do not exist are zero.
namespace skein::kernels {

/// A matrix in memory: element (i, j) is data[i * stride + j].
struct Rows {
    const float* data;
    std::int64_t stride;
};

/// Lines are the columns of `from`: from(p, j), p < k, j < count.
template <int kWidth>
void pack_columns(Rows from, std::int64_t k, std::int64_t count, float* to);

/// Lines are the rows of `from`: from(j, p), p < k, j < count. kWidth is a multiple of 8.
template <int kWidth>
void pack_rows(Rows from, std::int64_t k, std::int64_t count, float* to);

extern template void pack_columns<6>(Rows, std::int64_t, std::int64_t, float*);
extern template void pack_columns<16>(Rows, std::int64_t, std::int64_t, float*);
extern template void pack_rows<16>(Rows, std::int64_t, std::int64_t, float*);
extern template void pack_rows<32>(Rows, std::int64_t, std::int64_t, float*);

}  // namespace skein::kernels
