#include "model/kernels/cpu/gemm_tile.h"

namespace skein::kernels {
namespace {

using namespace simd;

F8 read(const float* from, std::int64_t count) {
    return count >= kWidth ? load(from) : load_partial(from, count);
}

void write(float* to, F8 value, std::int64_t count) {
    if (count >= kWidth) {
        store(to, value);
    } else {
        store_partial(to, value, count);
    }
}

/// Bias and epilogue of the vector at (row, column), of which the first `count` lanes exist.
F8 finished(const GemmArgs& args, std::int64_t row, std::int64_t column, std::int64_t count, F8 x) {
    if (args.bias) x = x + read(args.bias + column, count);
    float* aux = args.aux.f32() + row * args.ld_aux + column;
    switch (args.epilogue) {
        case Epilogue::kNone:
            return x;
        case Epilogue::kGelu:
            write(aux, x, count);
            return gelu(x);
        case Epilogue::kRelu:
            return max(x, splat(0.0f));
        case Epilogue::kGeluBackward:
            return x * gelu_derivative(read(aux, count));
        case Epilogue::kReluBackward:
            return read(aux, count) > splat(0.0f) ? x : splat(0.0f);
    }
    return x;
}

}  // namespace

void put_finished(const TileOutput& out, std::int64_t row, std::int64_t column, std::int64_t columns,
                  int rows, int vectors, const F8* sum) {
    const GemmArgs& args = out.args;
    for (int i = 0; i < rows; ++i) {
        for (int v = 0; v < vectors; ++v) {
            const std::int64_t at = column + v * kWidth, count = columns - v * kWidth;
            if (count <= 0) break;
            float* c = args.c.f32() + (row + i) * args.ldc + at;
            F8 x = sum[i * vectors + v];
            if (out.add) x = read(c, count) + x;
            if (out.finish) x = finished(args, row + i, at, count, x);
            write(c, x, count);
        }
    }
}

}  // namespace skein::kernels
