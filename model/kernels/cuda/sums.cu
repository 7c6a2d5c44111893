#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/elementwise.h"

namespace skein::kernels {
namespace cuda {

inline constexpr std::int64_t kPartRows = 256;
inline constexpr int kSumThreads = 256, kGroups = 8, kRowLanes = kSumThreads / kGroups,
                     kTileColumns = 8 * kGroups;

/// Block (part, tile): rows [256 part, 256 part + 256) of 64 columns. Eight threads take a row's columns, 32
/// rows at a time.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kSumThreads)
    column_sums_kernel(std::int64_t rows, std::int64_t width, const T* x, float* sums, bool accumulate) {
    SKEIN_SHARED(float, tile, kRowLanes* kTileColumns);
    const int group = thread_index() % kGroups, lane = thread_index() / kGroups;
    const std::int64_t c = block_index_y() * kTileColumns + group * 8;
    const std::int64_t first = block_index() * kPartRows, end = std::min(rows, first + kPartRows);
    Eight total = eight_of(0.0f);
    if (c < width)
        for (std::int64_t r = first + lane; r < end; r += kRowLanes)
            add_to(total, load_eight<kWhole>(x + r * width + c, width - c));
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
        const Eight old = load_eight<kWhole>(to, width - c);
        for (int i = 0; i < 8; ++i) total.v[i] = old.v[i] + total.v[i];
    }
    store_eight<kWhole>(to, total, width - c);
}

}  // namespace cuda

using namespace cuda;

void column_sums(CudaStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                 bool accumulate) {
    const std::int64_t parts = std::max<std::int64_t>(1, divide_up(rows, kPartRows));
    const auto sum_parts = [&](float* to, bool add_up) {
        for_element_type(x.dtype, [&]<class T>() {
            for_whole_eights(rows_are_aligned(width, x.data, to), [&](auto is_whole) {
                launch<column_sums_kernel<T, decltype(is_whole)::value>>(
                    {parts, divide_up(width, kTileColumns)}, kSumThreads, stream, rows, width,
                    static_cast<const T*>(x.data), to, add_up);
            });
        });
    };
    if (parts == 1) return sum_parts(sums, accumulate);
    const BlockRef scratch = stream.pool->allocate(static_cast<std::size_t>(parts * width) * sizeof(float));
    auto* of_parts = reinterpret_cast<float*>(scratch.get()->data);
    sum_parts(of_parts, false);
    column_sums(stream, parts, width, of_parts, sums, accumulate);
}

}  // namespace skein::kernels
