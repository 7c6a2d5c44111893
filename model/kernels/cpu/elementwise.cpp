#include "model/kernels/elementwise.h"

#include <algorithm>
#include <cstring>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/row_mask.h"
#include "model/kernels/cpu/simd.h"

namespace skein::kernels {
namespace {

using namespace simd;

constexpr std::int64_t kBlock = 1 << 14;

void fp32_copy_or_add(CpuStream& stream, const float* source, float* target, std::int64_t count,
                      bool accumulate) {
    parallel_blocks(stream.threads, count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        if (accumulate) {
            for (std::int64_t i = begin; i < end; ++i) target[i] += source[i];
        } else {
            std::memcpy(target + begin, source + begin,
                        static_cast<std::size_t>(end - begin) * sizeof(float));
        }
    });
}

void fp32_dropout(CpuStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                  std::int64_t width, const float* x, float* y, bool accumulate) {
    parallel_blocks(stream.threads, rows, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            RowMask mask(dropout, place, r);
            const float* from = x + r * width;
            float* to = y + r * width;
            for_lanes(width, [&](std::int64_t c, auto lanes) {
                F8 value = load(from + c, lanes) * mask.at(c);
                if (accumulate) value += load(to + c, lanes);
                store(to + c, value, lanes);
            });
        }
    });
}

void fp32_column_sums(CpuStream& stream, std::int64_t rows, std::int64_t width, const float* x, float* sums,
                      bool accumulate) {
    constexpr std::int64_t kColumns = 64, kRows = 256;
    parallel_blocks(stream.threads, width, kColumns, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t columns = end - begin;
        float total[kColumns] = {}, block[kColumns];
        for (std::int64_t first = 0; first < rows; first += kRows) {
            std::fill_n(block, kColumns, 0.0f);
            for (std::int64_t r = first; r < std::min(rows, first + kRows); ++r) {
                const float* row = x + r * width + begin;
                for_lanes(columns, [&](std::int64_t c, auto lanes) {
                    store(block + c, load(block + c) + load(row + c, lanes));
                });
            }
            for (std::int64_t c = 0; c < kColumns; ++c) total[c] += block[c];
        }
        for (std::int64_t c = 0; c < columns; ++c)
            sums[begin + c] = accumulate ? sums[begin + c] + total[c] : total[c];
    });
}

}  // namespace

void copy_or_add(CpuStream& stream, ConstOperand source, Operand target, std::int64_t count,
                 bool accumulate) {
    Fp32Operands fp32(stream);
    const ConstOperand from = fp32.read(source, count);
    const Operand to = fp32.write(target, count, accumulate);
    fp32_copy_or_add(stream, from.f32(), to.f32(), count, accumulate);
    fp32.finish();
}

void add(CpuStream& stream, const float* left, const float* right, float* target, std::int64_t count) {
    parallel_blocks(stream.threads, count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) target[i] = left[i] + right[i];
    });
}

void apply_dropout(CpuStream& stream, const Dropout& dropout, const RowPlace& place, std::int64_t rows,
                   std::int64_t width, ConstOperand x, Operand y, bool accumulate) {
    Fp32Operands fp32(stream);
    const ConstOperand from = fp32.read(x, rows * width);
    const Operand to = fp32.write(y, rows * width, accumulate);
    fp32_dropout(stream, dropout, place, rows, width, from.f32(), to.f32(), accumulate);
    fp32.finish();
}

void column_sums(CpuStream& stream, std::int64_t rows, std::int64_t width, ConstOperand x, float* sums,
                 bool accumulate) {
    Fp32Operands fp32(stream);
    fp32_column_sums(stream, rows, width, fp32.read(x, rows * width).f32(), sums, accumulate);
}

void block_square_sums(CpuStream& stream, const float* x, std::int64_t count, double* sums) {
    parallel_blocks(stream.threads, count, kNormBlock, [&](std::int64_t begin, std::int64_t end) {
        double partial[8] = {};
        std::int64_t i = begin;
        for (; i + 8 <= end; i += 8)
            for (int lane = 0; lane < 8; ++lane)
                partial[lane] += static_cast<double>(x[i + lane]) * x[i + lane];
        for (; i < end; ++i) partial[i % 8] += static_cast<double>(x[i]) * x[i];
        sums[begin / kNormBlock] = ((partial[0] + partial[4]) + (partial[2] + partial[6])) +
                                   ((partial[1] + partial[5]) + (partial[3] + partial[7]));
    });
}

}  // namespace skein::kernels
