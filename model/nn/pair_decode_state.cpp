#include "model/nn/pair_decode_state.h"

#include <numeric>
#include <utility>

#include "model/base/error.h"
#include "model/kernels/gather_rows.h"

namespace skein {
namespace {

/// to[i] = from[which[i]] for pieces of `stride` bytes, of which the first `used` matter. which: i32.
void gather(Stream& stream, const Tensor& from, const Tensor& to, const Tensor& which, std::size_t stride,
            std::size_t used) {
    stream.run([&](auto& s) {
        kernels::gather_rows(
            s, {from.raw(), stride, which.data<std::int32_t>(), to.raw(), stride, used, which.elements()});
    });
}

bool is_identity(std::span<const std::int32_t> which) {
    for (std::size_t i = 0; i < which.size(); ++i)
        if (which[i] != static_cast<std::int32_t>(i)) return false;
    return true;
}

}  // namespace

void PairDecodeState::select(Stream& stream, std::span<const std::int32_t> parents) {
    const auto count = static_cast<std::int64_t>(parents.size()), old_sentences = sentences(),
               kept = count / beams;
    if (count == 0 || count % beams != 0 || count > rows())
        throw ShapeError(
            text("select: ", count, " rows of ", rows(), ", wanted a multiple of ", beams, " beams"));
    std::vector<std::int32_t> of_sentence;
    for (std::int64_t row = 0; row < count; ++row) {
        const std::int32_t parent = parents[static_cast<std::size_t>(row)];
        if (parent < 0 || parent >= rows()) throw ShapeError(text("select: row ", parent, " of ", rows()));
        const auto sentence = static_cast<std::int32_t>(parent / beams);
        if (row % beams == 0) of_sentence.push_back(sentence);
        if (of_sentence.back() != sentence) throw ShapeError("select: the beams of a sentence come from two");
    }
    const bool same_sentences = kept == old_sentences && is_identity(of_sentence);
    if (same_sentences && is_identity(parents)) return;

    const Tensor row_parents = Tensor::from(stream, {count}, parents);
    const Tensor sentence_parents = Tensor::from<std::int32_t>(stream, {kept}, of_sentence);
    const auto from_rows = [&](Tensor& cache, Tensor& into) {
        const Shape shape{count, capacity, cache.shape()[2]};
        const std::size_t position = static_cast<std::size_t>(shape[2]) * size_of(cache.dtype());
        const Tensor to = into.view(0, shape);
        gather(stream, cache, to, row_parents, static_cast<std::size_t>(capacity) * position,
               static_cast<std::size_t>(length) * position);
        into = std::exchange(cache, to);
    };
    const auto from_sentences = [&](const Tensor& per_sentence, const Shape& shape) {
        const Tensor to = Tensor::empty(stream, per_sentence.dtype(), shape);
        const std::size_t bytes = per_sentence.bytes() / static_cast<std::size_t>(old_sentences);
        gather(stream, per_sentence, to, sentence_parents, bytes, bytes);
        return to;
    };
    for (DecoderBlock::Cache& layer : layers) {
        from_rows(layer.own.keys, spare.keys);
        from_rows(layer.own.values, spare.values);
        if (!same_sentences)
            layer.source = from_sentences(
                layer.source, {layer.source.shape()[0] / old_sentences * kept, layer.source.shape()[1]});
    }
    if (!same_sentences) source_lengths = from_sentences(source_lengths, {kept});
}

}  // namespace skein
