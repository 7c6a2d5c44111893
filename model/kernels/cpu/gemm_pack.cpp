#include "model/kernels/cpu/gemm_pack.h"

#include <cstring>

#include "model/kernels/cpu/simd.h"

namespace skein::kernels {
namespace {

using simd::F8;
using F4 = float __attribute__((vector_size(16)));

F8 load_halves(const float* low, const float* high) {
    F4 a, b;
    std::memcpy(&a, low, sizeof a);
    std::memcpy(&b, high, sizeof b);
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}

/// to[p * width + j] = from(j, p) for j, p < 8. Halves are brought together by the loads; the rest is 16
/// shuffles.
inline void transpose_eight(Rows from, std::int64_t width, float* to) {
    const auto row = [&](std::int64_t j) { return from.data + j * from.stride; };
    for (std::int64_t p = 0; p < 8; p += 4) {
        const F8 r0 = load_halves(row(0) + p, row(4) + p), r1 = load_halves(row(1) + p, row(5) + p);
        const F8 r2 = load_halves(row(2) + p, row(6) + p), r3 = load_halves(row(3) + p, row(7) + p);
        const F8 a = __builtin_shufflevector(r0, r1, 0, 8, 1, 9, 4, 12, 5, 13);
        const F8 b = __builtin_shufflevector(r2, r3, 0, 8, 1, 9, 4, 12, 5, 13);
        const F8 c = __builtin_shufflevector(r0, r1, 2, 10, 3, 11, 6, 14, 7, 15);
        const F8 d = __builtin_shufflevector(r2, r3, 2, 10, 3, 11, 6, 14, 7, 15);
        simd::store(to + (p + 0) * width, __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13));
        simd::store(to + (p + 1) * width, __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15));
        simd::store(to + (p + 2) * width, __builtin_shufflevector(c, d, 0, 1, 8, 9, 4, 5, 12, 13));
        simd::store(to + (p + 3) * width, __builtin_shufflevector(c, d, 2, 3, 10, 11, 6, 7, 14, 15));
    }
}

}  // namespace

template <int kWidth>
void pack_columns(Rows from, std::int64_t k, std::int64_t count, float* to) {
    const std::int64_t panels = count / kWidth, rest = count % kWidth;
    for (std::int64_t p = 0; p < k; ++p) {  // along the rows of `from`: memory is read in order
        const float* line = from.data + p * from.stride;
        float* at = to + p * kWidth;
        for (std::int64_t panel = 0; panel < panels; ++panel) {
            std::memcpy(at, line, kWidth * sizeof(float));
            line += kWidth;
            at += k * kWidth;
        }
        if (rest > 0) {
            for (std::int64_t j = 0; j < kWidth; ++j) at[j] = j < rest ? line[j] : 0.0f;
        }
    }
}

template <int kWidth>
void pack_rows(Rows from, std::int64_t k, std::int64_t count, float* to) {
    static_assert(kWidth % 8 == 0);
    for (std::int64_t first = 0; first < count; first += kWidth, to += k * kWidth) {
        const float* data = from.data + first * from.stride;
        const std::int64_t lines = count - first < kWidth ? count - first : kWidth;
        const std::int64_t eights = lines / 8 * 8;
        std::int64_t p = 0;
        for (; p + 16 <= k; p += 16) {  // whole cache lines, before other rows can push them out
            for (std::int64_t j = 0; j < eights; j += 8) {
                const float* corner = data + j * from.stride + p;
                transpose_eight({corner, from.stride}, kWidth, to + p * kWidth + j);
                transpose_eight({corner + 8, from.stride}, kWidth, to + (p + 8) * kWidth + j);
            }
        }
        for (std::int64_t q = 0; q < k; ++q) {
            for (std::int64_t j = q < p ? eights : 0; j < kWidth; ++j) {
                to[q * kWidth + j] = j < lines ? data[j * from.stride + q] : 0.0f;
            }
        }
    }
}

template void pack_columns<6>(Rows, std::int64_t, std::int64_t, float*);
template void pack_columns<16>(Rows, std::int64_t, std::int64_t, float*);
template void pack_rows<16>(Rows, std::int64_t, std::int64_t, float*);
template void pack_rows<32>(Rows, std::int64_t, std::int64_t, float*);

}  // namespace skein::kernels
