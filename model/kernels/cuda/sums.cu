#include "model/kernels/cuda/sums.h"

#include "model/kernels/cuda/square_sum.cuh"

namespace skein::kernels::cuda {

inline constexpr std::int64_t kPartRows = 256;
inline constexpr int kSumThreads = 256, kGroups = 8, kRowLanes = kSumThreads / kGroups,
                     kTileColumns = 8 * kGroups;

/// Block (part, tile): rows [256 part, 256 part + 256) of 64 columns. Eight threads take a row's columns, 32
/// rows at a time.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    column_sums_kernel(std::int64_t rows, std::int64_t width, const T* x, std::int64_t stride, float* sums,
                       bool accumulate, bool aligned, bool sums_aligned) {
    SKEIN_SHARED(float, tile, kRowLanes* kTileColumns);
    const int group = thread_index() % kGroups, lane = thread_index() / kGroups;
    const std::int64_t c = block_index_y() * kTileColumns + group * 8;
    const std::int64_t first = block_index() * kPartRows, end = std::min(rows, first + kPartRows);
    Eight total = eight_of(0.0f);
    if (c < width)
        for (std::int64_t r = first + lane; r < end; r += kRowLanes)
            add_to(total, load_eight(x + r * stride + c, width - c, aligned));
    float* mine = tile + lane * kTileColumns + group * 8;
    for (int i = 0; i < 8; ++i) mine[i] = total.v[i];
    for (int half = kRowLanes / 2; half > 0; half /= 2) {
        sync_threads();
        if (lane < half)
            for (int i = 0; i < 8; ++i) mine[i] += mine[half * kTileColumns + i];
    }
    if (lane != 0 || c >= width) return;
    for (int i = 0; i < 8; ++i) total.v[i] = mine[i];
    float* to = sums + block_index() * width + c;
    if (accumulate) {
        const Eight old = load_eight(to, width - c, sums_aligned);
        for (int i = 0; i < 8; ++i) total.v[i] = old.v[i] + total.v[i];
    }
    store_eight(to, total, width - c, sums_aligned);
}

namespace {

template <class T>
void sum_parts(CudaStream& stream, std::int64_t rows, std::int64_t width, const T* x, std::int64_t stride,
               float* sums, bool accumulate) {
    const Grid grid{std::max<std::int64_t>(1, divide_up(rows, kPartRows)), divide_up(width, kTileColumns)};
    launch<column_sums_kernel<T>>(grid, kSumThreads, stream, rows, width, x, stride, sums, accumulate,
                                  rows_are_aligned(stride, x), rows_are_aligned(width, sums));
}

std::int64_t aligned_floats(std::int64_t count) {
    return divide_up(count, 8) * 8;
}

}  // namespace

std::int64_t column_sums_workspace(std::int64_t rows, std::int64_t width) {
    std::int64_t floats = 0;
    for (std::int64_t parts = divide_up(rows, kPartRows); parts > 1; parts = divide_up(parts, kPartRows))
        floats += aligned_floats(parts * width);
    return floats;
}

template <class T>
void column_sums(CudaStream& stream, std::int64_t rows, std::int64_t width, const T* x, std::int64_t stride,
                 float* sums, bool accumulate, float* workspace) {
    std::int64_t parts = divide_up(rows, kPartRows);
    if (parts <= 1) return sum_parts(stream, rows, width, x, stride, sums, accumulate);
    sum_parts(stream, rows, width, x, stride, workspace, false);
    while (parts > kPartRows) {
        float* next = workspace + aligned_floats(parts * width);
        sum_parts(stream, parts, width, static_cast<const float*>(workspace), width, next, false);
        workspace = next;
        parts = divide_up(parts, kPartRows);
    }
    sum_parts(stream, parts, width, static_cast<const float*>(workspace), width, sums, accumulate);
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    block_square_sums_kernel(const T* x, std::int64_t count, double* sums, bool aligned) {
    const std::int64_t begin = block_index() * kNormBlock;
    const double total = square_sum(x + begin, std::min(std::int64_t{kNormBlock}, count - begin), aligned);
    if (thread_index() == 0) sums[block_index()] = total;
}

template <class T>
void block_square_sums(CudaStream& stream, const T* x, std::int64_t count, double* sums) {
    launch<block_square_sums_kernel<T>>({divide_up(count, kNormBlock), 1}, kSumThreads, stream, x, count,
                                        sums, rows_are_aligned(8, x));
}

#define SKEIN_SUMS(T)                                                                                        \
    template void column_sums(CudaStream&, std::int64_t, std::int64_t, const T*, std::int64_t, float*, bool, \
                              float*);                                                                       \
    template void block_square_sums(CudaStream&, const T*, std::int64_t, double*);
SKEIN_SUMS(float)
SKEIN_SUMS(Bf16)
SKEIN_SUMS(F16)
#undef SKEIN_SUMS

}  // namespace skein::kernels::cuda
