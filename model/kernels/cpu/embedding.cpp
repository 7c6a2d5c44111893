#include "model/kernels/embedding.h"

#include <algorithm>

#include "model/base/parallel_for.h"
#include "model/kernels/cpu/fp32_operands.h"
#include "model/kernels/cpu/row_mask.h"
#include "model/kernels/cpu/simd.h"

namespace skein::kernels {
namespace {

using namespace simd;

// A stable counting sort: rows of the table's row v are order[first[v]] ... order[first[v + 1] - 1], in
// ascending order.
void group_rows_by_id(const EmbeddingBackwardArgs& args, std::int32_t* first, std::int32_t* order) {
    std::fill_n(first, args.vocabulary + 1, 0);
    const auto for_own_rows = [&](const auto& body) {
        for (std::int64_t r = 0; r < args.rows; ++r)
            if (const std::int64_t v = args.ids[r] - args.first_id; v >= 0 && v < args.vocabulary) body(r, v);
    };
    for_own_rows([&](std::int64_t, std::int64_t v) { ++first[v + 1]; });
    for (std::int64_t v = 0; v < args.vocabulary; ++v) first[v + 1] += first[v];
    for_own_rows([&](std::int64_t r, std::int64_t v) { order[first[v]++] = static_cast<std::int32_t>(r); });
    for (std::int64_t v = args.vocabulary; v > 0; --v) first[v] = first[v - 1];
    first[0] = 0;
}

void table_gradient(CpuStream& stream, const EmbeddingBackwardArgs& args) {
    const BlockRef scratch = stream.pool->allocate(static_cast<std::size_t>(args.rows + args.vocabulary + 1) *
                                                   sizeof(std::int32_t));
    auto* order = reinterpret_cast<std::int32_t*>(scratch.get()->data);
    std::int32_t* first = order + args.rows;
    group_rows_by_id(args, first, order);
    parallel_blocks(stream.threads, args.vocabulary, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t v = begin; v < end; ++v) {
            float* to = args.dtable + v * args.width;
            if (first[v] == first[v + 1]) {
                if (!args.accumulate_table) std::fill_n(to, args.width, 0.0f);
                continue;
            }
            for_lanes(args.width, [&](std::int64_t c, auto lanes) {
                F8 total = splat(0.0f);
                for (std::int32_t i = first[v]; i < first[v + 1]; ++i)
                    total += load(args.dy.f32() + order[i] * args.width + c, lanes);
                total *= splat(args.scale);
                if (args.accumulate_table) total += load(to + c, lanes);
                store(to + c, total, lanes);
            });
        }
    });
}

void position_gradient(CpuStream& stream, const EmbeddingBackwardArgs& args) {
    const std::int64_t samples = args.rows / args.place.positions;
    parallel_blocks(stream.threads, args.context, 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t position = begin; position < end; ++position) {
            float* to = args.dpositions + position * args.width;
            const std::int64_t t = position - args.place.first_position;
            if (t < 0 || t >= args.place.positions) {
                if (!args.accumulate_positions) std::fill_n(to, args.width, 0.0f);
                continue;
            }
            for_lanes(args.width, [&](std::int64_t c, auto lanes) {
                F8 total = splat(0.0f);
                for (std::int64_t sample = 0; sample < samples; ++sample)
                    total +=
                        load(args.dy.f32() + (sample * args.place.positions + t) * args.width + c, lanes);
                if (args.accumulate_positions) total += load(to + c, lanes);
                store(to + c, total, lanes);
            });
        }
    });
}

void fp32_embedding(CpuStream& stream, const EmbeddingArgs& args) {
    parallel_blocks(stream.threads, args.rows, 32, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
            const std::int64_t id = args.ids[r] - args.first_id;
            float* y = args.y.f32() + r * args.width;
            if (id < 0 || id >= args.vocabulary) {
                std::fill_n(y, args.width, 0.0f);
                continue;
            }
            const float* token = args.table.f32() + id * args.width;
            const float* offset =
                args.positions ? args.positions.f32() + args.place.position(r) * args.width : nullptr;
            RowMask mask(args.dropout, args.place, r);
            for_lanes(args.width, [&](std::int64_t c, auto lanes) {
                F8 value = load(token + c, lanes) * splat(args.scale);
                if (offset) value += load(offset + c, lanes);
                if (args.dropout) value *= mask.at(c);
                store(y + c, value, lanes);
            });
        }
    });
}

}  // namespace

void embedding(CpuStream& stream, const EmbeddingArgs& args) {
    Fp32Operands fp32(stream);
    EmbeddingArgs widened = args;
    widened.table = fp32.read(args.table, args.vocabulary * args.width);
    widened.positions =
        fp32.read(args.positions, (args.place.first_position + args.place.positions) * args.width);
    widened.y = fp32.write(args.y, args.rows * args.width);
    fp32_embedding(stream, widened);
    fp32.finish();
}

void embedding_backward(CpuStream& stream, const EmbeddingBackwardArgs& args) {
    Fp32Operands fp32(stream);
    EmbeddingBackwardArgs widened = args;
    widened.dy = fp32.read(args.dy, args.rows * args.width);
    if (args.dtable) table_gradient(stream, widened);
    if (args.dpositions) position_gradient(stream, widened);
}

}  // namespace skein::kernels
