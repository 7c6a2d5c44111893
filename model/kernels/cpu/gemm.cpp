#include "model/kernels/gemm.h"

#include <algorithm>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/gemm_pack.h"
#include "model/kernels/cpu/gemm_tile.h"
#include "model/kernels/cpu/row_mask.h"

namespace skein::kernels {
namespace {

// A panel of b over one K-block (24 KiB at most) stays in the first-level cache, the part of a that a task
// works on in the second, and the packed blocks that threads share in the third.
constexpr std::int64_t kLongestBlock = 384;   // of k
constexpr std::int64_t kBlockColumns = 3072;  // of b, packed at a time
constexpr std::int64_t kBlockRows = 3072;     // of a, packed at a time
constexpr std::int64_t kTaskRows = 192;
constexpr std::int64_t kManyColumns = 640;     // from here on packing a pays even if its rows are contiguous
constexpr std::int64_t kFewRows = 24;          // up to here b is packed panel by panel, for one use
constexpr std::int64_t kWorthATeam = 100'000;  // multiplications, below which one thread is faster

std::int64_t divide_up(std::int64_t x, std::int64_t by) {
    return (x + by - 1) / by;
}
std::int64_t round_up(std::int64_t x, std::int64_t to) {
    return divide_up(x, to) * to;
}

/// The cut of k into blocks: a function of k alone, since sums are grouped by it.
std::int64_t block_of(std::int64_t k) {
    return round_up(divide_up(k, divide_up(k, kLongestBlock)), 16);
}

/// How the sums over [p, p + k) are to be put into c.
TileOutput output_of(const GemmArgs& args, std::int64_t p, std::int64_t k) {
    const bool more = args.bias || args.epilogue != Epilogue::kNone;
    return {args, args.accumulate || p > 0, more && !args.accumulate && p + k >= args.k};
}

/// k = 0: the product is zero.
void finish_empty(const GemmArgs& args) {
    if (args.accumulate) return;
    const TileOutput out = output_of(args, 0, 0);
    const simd::F8 zero[1][1] = {{simd::splat(0.0f)}};
    for (std::int64_t i = 0; i < args.m; ++i) {
        for (std::int64_t j = 0; j < args.n; j += simd::kWidth) put(out, i, j, args.n - j, zero);
    }
}

/// op(a) from (row, p) on, where it lies.
LeftInPlace left_in_place(const GemmArgs& args, std::int64_t row, std::int64_t p) {
    if (args.transpose_a) return {args.a.f32() + p * args.lda + row, 1, args.lda};
    return {args.a.f32() + row * args.lda + p, args.lda, 1};
}

/// Packs op(b)'s columns [column, column + count) over [p, p + k).
template <int kWidth>
void pack_right(const GemmArgs& args, std::int64_t p, std::int64_t k, std::int64_t column, std::int64_t count,
                float* to) {
    if (args.transpose_b) {
        pack_rows<kWidth>({args.b.f32() + column * args.ldb + p, args.ldb}, k, count, to);
    } else {
        pack_columns<kWidth>({args.b.f32() + p * args.ldb + column, args.ldb}, k, count, to);
    }
}

/// Packs op(a)'s rows [row, row + count) over [p, p + k).
void pack_left(const GemmArgs& args, std::int64_t p, std::int64_t k, std::int64_t row, std::int64_t count,
               float* to) {
    if (args.transpose_a) {
        pack_columns<6>({args.a.f32() + p * args.lda + row, args.lda}, k, count, to);
    } else {
        pack_six_rows({args.a.f32() + row * args.lda + p, args.lda}, k, count, to);
    }
}

/// What a task computes: the rows [row, row + rows) and columns [column, column + columns) of c over [p, p +
/// k).
struct Part {
    std::int64_t row, rows, column, columns, p, k;
};

/// `a`: of row `row` and step p; moves on by `a_panel` elements for every six rows. `b`: panels of 16
/// columns.
template <class Left>
void multiply_part(const Part& part, Left a, std::int64_t a_panel, const float* b, const TileOutput& out) {
    const std::int64_t panel = part.k * kTileColumns, line = 16;
    const std::int64_t share = round_up(divide_up(panel * kTileRows, part.rows), line);
    for (std::int64_t j = 0; j < part.columns; j += kTileColumns, b += panel) {
        const std::int64_t columns = part.columns - j;
        const float* next = b + panel;  // of the next panel, every tile fetches its share
        Left left = a;
        for (std::int64_t i = 0; i < part.rows; i += kTileRows, left.data += a_panel, next += share) {
            const int rows = static_cast<int>(std::min(kTileRows, part.rows - i));
            if (columns > kTileColumns) {
                for (std::int64_t q = 0; q < share; q += line) __builtin_prefetch(next + q, 0, 2);
            }
            if (columns > simd::kWidth) {
                tile_of<2>(rows, part.k, left, {b, kTileColumns}, out, part.row + i, part.column + j,
                           columns);
            } else {
                tile_of<1>(rows, part.k, left, {b, kTileColumns}, out, part.row + i, part.column + j,
                           columns);
            }
        }
    }
}

/// Few rows: every element of b is used so little that going over it once, from memory, is what counts.
void multiply_few_rows(const GemmArgs& args, int threads) {
    const std::int64_t block = block_of(args.k);
    parallel_blocks(threads, args.n, kTileColumns, [&](std::int64_t begin, std::int64_t end) {
        alignas(64) float packed[kLongestBlock * kTileColumns];
        for (std::int64_t p = 0; p < args.k; p += block) {
            const Part part{0, args.m, begin, end - begin, p, std::min(block, args.k - p)};
            pack_right<16>(args, p, part.k, begin, end - begin, packed);
            const TileOutput out = output_of(args, p, part.k);
            const LeftInPlace left = left_in_place(args, 0, p);
            multiply_part(part, left, kTileRows * left.row, packed, out);
        }
    });
}

/// The blocks that multiply_blocks packs.
struct Packing {
    std::int64_t block;  // of k
    bool pack_a;
    std::int64_t most_columns, most_rows;

    std::size_t bytes() const {
        return static_cast<std::size_t>((most_columns + (pack_a ? most_rows : 0)) * block) * sizeof(float);
    }
};

Packing packing_of(const GemmArgs& args) {
    const bool pack_a = args.transpose_a || args.n >= kManyColumns;
    return {block_of(args.k), pack_a, std::min(round_up(args.n, kTileColumns), kBlockColumns),
            pack_a ? std::min(round_up(args.m, kTileRows), kBlockRows) : args.m};
}

/// The general case: blocks of b, and of a if it is transposed, are packed together by all threads, which
/// then share out the block of c between them.
void multiply_blocks(CpuStream& stream, const GemmArgs& args, int threads) {
    const auto [block, pack_a, most_columns, most_rows] = packing_of(args);
    const BlockRef scratch = stream.pool->allocate(packing_of(args).bytes());
    float* const packed_b = reinterpret_cast<float*>(scratch.get()->data);
    float* const packed_a = packed_b + most_columns * block;

    for (std::int64_t column = 0; column < args.n; column += most_columns) {
        const std::int64_t columns = std::min(most_columns, args.n - column);
        for (std::int64_t row = 0; row < args.m; row += most_rows) {
            const std::int64_t rows = std::min(most_rows, args.m - row);
            // Tasks: about kTaskRows rows each; columns are split as well when there are few of them.
            const std::int64_t row_tasks = divide_up(rows, kTaskRows);
            const std::int64_t task_rows = round_up(divide_up(rows, row_tasks), kTileRows);
            const std::int64_t wanted = threads > 1 ? divide_up(8 * threads, row_tasks) : 1;
            const std::int64_t task_columns =
                std::max<std::int64_t>(64, round_up(divide_up(columns, wanted), kTileColumns));
            const std::int64_t column_tasks = divide_up(columns, task_columns);
            for (std::int64_t p = 0; p < args.k; p += block) {
                const std::int64_t k = std::min(block, args.k - p);
                constexpr std::int64_t kPackColumns = 4 * kTileColumns, kPackRows = 16 * kTileRows;
                const std::int64_t b_packs = divide_up(columns, kPackColumns);
                const std::int64_t a_packs = pack_a ? divide_up(rows, kPackRows) : 0;
                parallel_for_uneven(threads, b_packs + a_packs, [&](std::int64_t i) {
                    if (i < b_packs) {
                        const std::int64_t j = i * kPackColumns;
                        pack_right<16>(args, p, k, column + j, std::min(kPackColumns, columns - j),
                                       packed_b + j * k);
                    } else {
                        const std::int64_t j = (i - b_packs) * kPackRows;
                        pack_left(args, p, k, row + j, std::min(kPackRows, rows - j), packed_a + j * k);
                    }
                });
                const TileOutput out = output_of(args, p, k);
                parallel_for_uneven(threads, row_tasks * column_tasks, [&](std::int64_t i) {
                    const std::int64_t r = i / column_tasks * task_rows, c = i % column_tasks * task_columns;
                    if (r >= rows) return;
                    const Part part{row + r,    std::min(task_rows, rows - r),
                                    column + c, std::min(task_columns, columns - c),
                                    p,          k};
                    const float* b = packed_b + c * k;
                    if (pack_a) {
                        multiply_part(part, LeftPacked{packed_a + r * k}, kTileRows * k, b, out);
                    } else {
                        multiply_part(part, left_in_place(args, row + r, p), kTileRows * args.lda, b, out);
                    }
                });
            }
        }
    }
}

void fp32_gemm(CpuStream& stream, const GemmArgs& args) {
    if (args.m <= 0 || args.n <= 0) return;
    if (args.k <= 0) return finish_empty(args);
    const int threads = args.m * args.n * args.k < kWorthATeam ? 1 : std::max(1, stream.threads);
    if (args.m <= kFewRows) return multiply_few_rows(args, threads);
    multiply_blocks(stream, args, threads);
}

/// c = mask · c: row by row, since a row's random numbers are made many at a time.
void apply_mask(CpuStream& stream, const GemmArgs& args) {
    using namespace simd;
    parallel_blocks(stream.threads, args.m, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            RowMask mask(args.dropout, args.place, r);
            float* c = args.c.f32() + r * args.ldc;
            for_lanes(args.n, [&](std::int64_t j, auto lanes) {
                store(c + j, load(c + j, lanes) * mask.at(j), lanes);
            });
        }
    });
}

}  // namespace

void gemm(CpuStream& stream, const GemmArgs& args) {
    Fp32Operands fp32(stream);
    GemmArgs widened = args;
    widened.a = fp32.read(args.a, args.transpose_a ? args.k : args.m, args.transpose_a ? args.m : args.k,
                          widened.lda);
    widened.b = fp32.read(args.b, args.transpose_b ? args.n : args.k, args.transpose_b ? args.k : args.n,
                          widened.ldb);
    widened.c = fp32.write(args.c, args.m, args.n, widened.ldc, args.accumulate);
    widened.aux = args.epilogue == Epilogue::kGelu ? fp32.write(args.aux, args.m, args.n, widened.ld_aux)
                                                   : fp32.read_back(args.aux, args.m, args.n, widened.ld_aux);
    fp32_gemm(stream, widened);
    if (args.dropout && !args.accumulate) apply_mask(stream, widened);
    fp32.finish();
}

std::vector<std::size_t> gemm_scratch(const GemmArgs& args) {
    std::vector<std::size_t> blocks;
    const auto widened = [&](ConstOperand operand, std::int64_t elements) {
        if (operand && !operand.is_f32())
            blocks.push_back(static_cast<std::size_t>(elements) * sizeof(float));
    };
    widened(args.a, args.m * args.k);
    widened(args.b, args.k * args.n);
    widened(args.c, args.m * args.n);
    widened(args.aux, args.m * args.n);
    if (args.m > kFewRows && args.n > 0 && args.k > 0) blocks.push_back(packing_of(args).bytes());
    return blocks;
}

std::string matmul_library(const CpuStream&) {
    return "skein";
}

}  // namespace skein::kernels
