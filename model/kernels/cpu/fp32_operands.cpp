#include "model/kernels/cpu/fp32_operands.h"

#include <cstring>

#include "model/base/parallel_for.h"

#if defined(__F16C__) && defined(__AVX2__)
#include <immintrin.h>
#endif

namespace skein::kernels {
namespace {

constexpr std::int64_t kBlock = 1 << 14;

// The conversions of float16.h over a run of elements. bf16's are shifts and additions, which the compiler
// vectorizes; for fp16 there are instructions, whose one difference, the payload of NaN, is made good.
void widen_run(const Bf16* from, float* to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

void narrow_run(const float* from, Bf16* to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = to_bf16(from[i]);
}

void widen_run(const F16* from, float* to, std::int64_t count) {
    std::int64_t i = 0;
#if defined(__F16C__) && defined(__AVX2__)
    for (; i + 8 <= count; i += 8) {
        __m128i halves;
        std::memcpy(&halves, from + i, sizeof halves);
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
    }
#endif
    for (; i < count; ++i) to[i] = to_float(from[i]);
}

void narrow_run(const float* from, F16* to, std::int64_t count) {
    std::int64_t i = 0;
#if defined(__F16C__) && defined(__AVX2__)
    const __m128i nan = _mm_set1_epi16(0x7FFF);
    for (; i + 8 <= count; i += 8) {
        const __m256 x = _mm256_loadu_ps(from + i);
        const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        const __m128i nan_halves =
            _mm_packs_epi32(_mm256_castsi256_si128(is_nan), _mm256_extracti128_si256(is_nan, 1));
        const __m128i halves =
            _mm_blendv_epi8(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT), nan, nan_halves);
        std::memcpy(to + i, &halves, sizeof halves);
    }
#endif
    for (; i < count; ++i) to[i] = to_f16(from[i]);
}

void widen_run(ConstOperand from, float* to, std::int64_t count) {
    if (from.dtype == DType::bf16)
        widen_run(static_cast<const Bf16*>(from.data), to, count);
    else if (from.dtype == DType::f16)
        widen_run(static_cast<const F16*>(from.data), to, count);
    else
        std::memcpy(to, from.data, static_cast<std::size_t>(count) * sizeof(float));
}

// Calls run(row, first, count) for pieces of rows of `columns` elements.
template <class Run>
void for_pieces(CpuStream& stream, std::int64_t rows, std::int64_t columns, const Run& run) {
    if (rows == 1) {
        parallel_blocks(stream.threads, columns, kBlock,
                        [&](std::int64_t begin, std::int64_t end) { run(0, begin, end - begin); });
        return;
    }
    const std::int64_t rows_at_a_time = columns >= kBlock ? 1 : kBlock / columns;
    parallel_blocks(stream.threads, rows, rows_at_a_time, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) run(row, std::int64_t{0}, columns);
    });
}

}  // namespace

void widen(CpuStream& stream, ConstOperand from, float* to, std::int64_t count) {
    for_pieces(stream, 1, count, [&](std::int64_t, std::int64_t first, std::int64_t n) {
        widen_run(from + first, to + first, n);
    });
}

void narrow(const float* from, Operand to, std::int64_t count) {
    if (to.dtype == DType::bf16)
        narrow_run(from, static_cast<Bf16*>(to.data), count);
    else
        narrow_run(from, static_cast<F16*>(to.data), count);
}

void narrow(CpuStream& stream, const float* from, Operand to, std::int64_t count) {
    for_pieces(stream, 1, count, [&](std::int64_t, std::int64_t first, std::int64_t n) {
        narrow(from + first, to + first, n);
    });
}

float* Fp32Operands::scratch(std::int64_t count) {
    BlockRef& block = blocks_.at(block_count_++);
    block = stream_.pool->allocate(static_cast<std::size_t>(count) * sizeof(float));
    return reinterpret_cast<float*>(block.get()->data);
}

ConstOperand Fp32Operands::read(ConstOperand x, std::int64_t count) {
    std::int64_t stride = count;
    return read(x, 1, count, stride);
}

ConstOperand Fp32Operands::read(ConstOperand x, std::int64_t rows, std::int64_t columns,
                                std::int64_t& stride) {
    if (!x || x.is_f32() || rows * columns == 0) return x;
    float* copy = scratch(rows * columns);
    for_pieces(stream_, rows, columns, [&](std::int64_t row, std::int64_t first, std::int64_t n) {
        widen_run(x + (row * stride + first), copy + row * columns + first, n);
    });
    stride = columns;
    return copy;
}

Operand Fp32Operands::read_back(Operand y, std::int64_t rows, std::int64_t columns, std::int64_t& stride) {
    const ConstOperand copy = read(y, rows, columns, stride);
    return {const_cast<void*>(copy.data), copy.dtype};
}

Operand Fp32Operands::write(Operand y, std::int64_t count, bool also_read) {
    std::int64_t stride = count;
    return write(y, 1, count, stride, also_read);
}

Operand Fp32Operands::write(Operand y, std::int64_t rows, std::int64_t columns, std::int64_t& stride,
                            bool also_read) {
    if (!y || y.is_f32() || rows * columns == 0) return y;
    const std::int64_t y_stride = stride;
    float* copy = also_read ? read_back(y, rows, columns, stride).f32() : scratch(rows * columns);
    stride = columns;
    written_.at(written_count_++) = {y, copy, rows, columns, y_stride};
    return copy;
}

void Fp32Operands::finish() {
    for (std::size_t i = 0; i < written_count_; ++i) {
        const Written& w = written_[i];
        for_pieces(stream_, w.rows, w.columns, [&](std::int64_t row, std::int64_t first, std::int64_t n) {
            narrow(w.from + row * w.columns + first, w.to + (row * w.stride + first), n);
        });
    }
    written_count_ = 0;
}

}  // namespace skein::kernels
