#include "model/kernels/cuda/sort_rows.h"

#include <algorithm>

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/reduce.cuh"

namespace skein::kernels::cuda {

// A tile of rows a block; one thread for each value of a digit.
inline constexpr int kDigits = 256, kSortThreads = kDigits, kTileRounds = 4,
                     kTileRows = kSortThreads * kTileRounds;
inline constexpr int kScanThreads = 512;

__device__ inline int digit_of(std::int32_t key, int shift) {
    return key >> shift & (kDigits - 1);
}

/// counts[digit · tiles + tile]: the rows of a tile that have a digit.
__global__ void __launch_bounds__(kSortThreads)
    count_digits_kernel(const std::int32_t* keys, std::int64_t rows, int shift, std::int64_t tiles,
                        std::int32_t* counts) {
    SKEIN_SHARED(std::int32_t, bins, kDigits);
    const int t = thread_index();
    bins[t] = 0;
    sync_threads();
    for (int round = 0; round < kTileRounds; ++round) {
        const std::int64_t row = block_index() * kTileRows + round * kSortThreads + t;
        if (row < rows) atomic_add(&bins[digit_of(keys[row], shift)], 1);
    }
    sync_threads();
    counts[t * tiles + block_index()] = bins[t];
}

/// values[i] = values[0] + ... + values[i - 1], by one block.
__global__ void __launch_bounds__(kScanThreads)
    exclusive_scan_kernel(std::int32_t* values, std::int64_t count) {
    SKEIN_SHARED(std::int32_t, of_warps, kWarp);
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
    std::int32_t before = 0;  // the sum of earlier rounds
    for (std::int64_t begin = 0; begin < count; begin += kScanThreads) {
        const std::int64_t i = begin + thread_index();
        const std::int32_t own = i < count ? values[i] : 0;
        std::int32_t inclusive = own;
        for (int lanes = 1; lanes < kWarp; lanes *= 2) {
            const std::int32_t lower = shuffle_up(inclusive, lanes);
            if (lane >= lanes) inclusive += lower;
        }
        if (lane == kWarp - 1) of_warps[warp] = inclusive;
        sync_threads();
        std::int32_t lower_warps = 0, all = 0;
        for (int w = 0; w < kScanThreads / kWarp; ++w) {
            if (w < warp) lower_warps += of_warps[w];
            all += of_warps[w];
        }
        if (i < count) values[i] = before + lower_warps + inclusive - own;
        before += all;
        sync_threads();  // of_warps has been read
    }
}

/// Puts the tile's rows to their places by one digit. `counts` is where the rows of a digit and tile begin.
/// old_order: null where rows stand in their own order.
__global__ void __launch_bounds__(kSortThreads)
    scatter_rows_kernel(const std::int32_t* keys, const std::int32_t* old_order, std::int64_t rows, int shift,
                        std::int64_t tiles, const std::int32_t* counts, std::int32_t* new_keys,
                        std::int32_t* new_order) {
    constexpr int kWarps = kSortThreads / kWarp;
    SKEIN_SHARED(std::int32_t, next, kDigits);  // where the next row with a digit goes
    SKEIN_SHARED(std::int32_t, of_warps,
                 kWarps * kDigits);  // how many a warp has, then where its first one goes
    const int t = thread_index(), lane = t % kWarp, warp = t / kWarp;
    next[t] = counts[t * tiles + block_index()];
    for (int round = 0; round < kTileRounds; ++round) {
        const std::int64_t row = block_index() * kTileRows + round * kSortThreads + t;
        const bool valid = row < rows;
        const std::int32_t key = valid ? keys[row] : 0;
        const int digit = digit_of(key, shift);
        for (int w = 0; w < kWarps; ++w) of_warps[w * kDigits + t] = 0;
        sync_threads();
        unsigned peers = ballot(valid);  // the lanes with my digit
        for (int bit = 0; bit < 8; ++bit) {
            const bool set = (digit >> bit & 1) != 0;
            const unsigned lanes = ballot(set);
            peers &= set ? lanes : ~lanes;
        }
        const int rank = popcount(peers & ((1u << lane) - 1u));
        if (valid && rank == 0) of_warps[warp * kDigits + digit] = popcount(peers);
        sync_threads();
        std::int32_t start = next[t];
        for (int w = 0; w < kWarps; ++w) {
            const std::int32_t count = of_warps[w * kDigits + t];
            of_warps[w * kDigits + t] = start;
            start += count;
        }
        next[t] = start;
        sync_threads();
        if (valid) {
            const std::int32_t to = of_warps[warp * kDigits + digit] + rank;
            new_keys[to] = key;
            new_order[to] = old_order ? old_order[row] : static_cast<std::int32_t>(row);
        }
        sync_threads();  // of_warps has been read
    }
}

/// first[v]: how many of the sorted keys are below range.first_id + v, for v in [0, range.count].
__global__ void __launch_bounds__(kSortThreads)
    first_of_ids_kernel(const std::int32_t* keys, std::int64_t rows, IdRange range, std::int32_t* first) {
    const std::int64_t v = block_index() * kSortThreads + thread_index();
    if (v > range.count) return;
    std::int64_t low = 0, high = rows;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (keys[middle] < range.first_id + v) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    first[v] = static_cast<std::int32_t>(low);
}

std::int64_t sort_rows_workspace(std::int64_t rows, std::int64_t ids) {
    return 4 * rows + kDigits * divide_up(rows, kTileRows) + ids + 1;
}

RowsById sort_rows(CudaStream& stream, std::int64_t rows, const IdRange& range, const std::int32_t* ids,
                   std::int32_t* workspace) {
    const std::int64_t tiles = divide_up(rows, kTileRows);
    std::int32_t *keys[2] = {workspace, workspace + rows},
                 *orders[2] = {workspace + 2 * rows, workspace + 3 * rows};
    std::int32_t *counts = workspace + 4 * rows, *first = counts + kDigits * tiles;
    const std::int32_t *sorted = ids, *order = nullptr;
    int to = 0;
    for (int shift = 0; shift == 0 || (shift < 32 && (range.end - 1) >> shift != 0);
         shift += 8, to = 1 - to) {
        launch<count_digits_kernel>({tiles, 1}, kSortThreads, stream, sorted, rows, shift, tiles, counts);
        launch<exclusive_scan_kernel>({std::min<std::int64_t>(tiles, 1), 1}, kScanThreads, stream, counts,
                                      kDigits * tiles);
        launch<scatter_rows_kernel>({tiles, 1}, kSortThreads, stream, sorted, order, rows, shift, tiles,
                                    static_cast<const std::int32_t*>(counts), keys[to], orders[to]);
        sorted = keys[to];
        order = orders[to];
    }
    launch<first_of_ids_kernel>({divide_up(range.count + 1, kSortThreads), 1}, kSortThreads, stream, sorted,
                                rows, range, first);
    return {order, first};
}

}  // namespace skein::kernels::cuda
