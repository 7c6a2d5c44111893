#include "model/autograd/ops/cross_entropy.h"

#include <algorithm>

#include "model/autograd/ops/matmul.h"
#include "model/base/error.h"
#include "model/kernels/work.h"

namespace skein {
namespace {

constexpr auto kHead = kernels::ProductOf::kOutputHead;

// Rows whose logits are held at a time: a function of device and vocabulary alone, which `ranks` ranks may
// share: the same on all of them, though their parts of it differ. A block's weight gradient is a pass over
// the whole weight, so blocks are as large as 64 MiB of logits allow, 1 GiB on a GPU, but of at least 64
// rows.
std::int64_t rows_at_a_time(Device device, std::int64_t vocabulary, int ranks) {
    const std::int64_t bytes = std::int64_t{device == Device::cpu ? 64 : 1024} << 20;
    return std::max<std::int64_t>(64, bytes * ranks / (4 * vocabulary) / 64 * 64);
}

template <class T>
Tensor sum_samples(Stream& stream, const Tensor& of_rows, std::int64_t length) {
    const std::int64_t samples = of_rows.elements() / length;
    const Tensor out = Tensor::empty(stream, of_rows.dtype(), {samples});
    stream.run(kernels::sum_samples_work(samples, length),
               [&](auto& s) { kernels::sum_samples(s, of_rows.data<T>(), samples, length, out.data<T>()); });
    return out;
}

// Room for a T of each row.
template <class T>
struct OfRows {
    static_assert(sizeof(T) % 8 == 0);
    Tensor own;
    OfRows(Stream& stream, std::int64_t rows)
        : own(Tensor::empty(stream, DType::i64, {rows * static_cast<std::int64_t>(sizeof(T) / 8)})) {}
    T* data() const { return reinterpret_cast<T*>(own.raw()); }
};

void cross_entropy(Stream& stream, const kernels::CrossEntropyArgs& args, TensorGroup* group) {
    if (!group) return stream.run(work_of(args), [&](auto& s) { kernels::cross_entropy(s, args); });
    using namespace kernels;
    VocabularyParts all;
    all.count = group->size();
    const OfRows<VocabularyPart> part(stream, args.rows);
    stream.run(parts_work(args), [&](auto& s) { cross_entropy_parts(s, args, part.data()); });
    const Tensor parts = group->all_gather(stream, part.own);
    all.parts = reinterpret_cast<const VocabularyPart*>(parts.raw());
    const OfRows<VocabularySums> sum(stream, args.rows);
    stream.run(sums_work(args), [&](auto& s) { cross_entropy_sums(s, args, all, sum.data()); });
    const Tensor sums = group->all_gather(stream, sum.own);
    all.sums = reinterpret_cast<const VocabularySums*>(sums.raw());
    stream.run(of_parts_work(args), [&](auto& s) { cross_entropy_of_parts(s, args, all); });
}

}  // namespace

LossSums linear_cross_entropy(const Var& hidden, const Var& weight, const Tensor& targets,
                              const LossOptions& options) {
    Tape& tape = hidden.tape();
    Stream& stream = tape.stream();
    const std::int64_t rows = hidden.shape()[0], width = weight.shape()[1], vocabulary = weight.shape()[0];
    check_shape("linear_cross_entropy", "hidden", hidden.shape(), {rows, width});
    if (options.group && options.first_id + vocabulary > options.vocabulary)
        throw ShapeError(text("linear_cross_entropy: ids to ", options.first_id + vocabulary,
                              " of a shared vocabulary of ", options.vocabulary));
    if (targets.elements() != rows || rows % options.length != 0)
        throw ShapeError(text("linear_cross_entropy: targets are ", targets.shape(), " for ", rows,
                              " rows in samples of ", options.length));

    const Tensor loss = Tensor::empty(stream, DType::f64, {rows}),
                 nll = Tensor::empty(stream, DType::f64, {rows});
    const Tensor correct = Tensor::empty(stream, DType::i64, {rows});
    GradientSlot dhidden, dweight;
    if (tape.records()) {
        dhidden = tape.gradient_slot(hidden);
        dweight = tape.gradient_slot(weight);
    }
    const std::int64_t block = std::min(
        rows, options.group ? rows_at_a_time(stream.device(), options.vocabulary, options.group->size())
                            : rows_at_a_time(stream.device(), vocabulary, 1));
    // On a GPU rows are padded to whole eights: 16 bytes, without which the library has no fast product.
    const std::int64_t stride = stream.device() == Device::cpu ? vocabulary : (vocabulary + 7) / 8 * 8;
    const Tensor buffer = Tensor::empty(stream, DType::f32, {block, stride});
    // the products with dlogits want them in the dtype of hidden and weight
    const DType dtype = hidden.value().dtype();
    const Tensor gradient_buffer =
        !tape.records() || dtype == DType::f32 ? buffer : Tensor::empty(stream, dtype, {block, stride});
    for (std::int64_t first = 0; first < rows; first += block) {
        const std::int64_t count = std::min(block, rows - first);
        const Tensor logits = buffer.view(0, {count, stride});
        const Tensor h = hidden.value().view(first * width, {count, width});
        // [count, vocabulary] = [count, width] · [vocabulary, width]ᵀ
        matmul(stream, {.b_transposed = true, .c_columns = vocabulary, .of = kHead}, h, weight.value(),
               logits);
        kernels::CrossEntropyArgs args{.rows = count, .vocabulary = vocabulary};
        args.stride = stride;
        args.logits = logits.data<float>();
        if (tape.records()) args.gradient = gradient_buffer.operand();
        args.targets = targets.data<std::int32_t>() + first;
        args.smoothing = options.label_smoothing;
        args.gradient_scale = static_cast<float>(options.gradient_scale);
        args.device_scale = options.device_scale;
        args.loss = loss.data<double>() + first;
        args.nll = nll.data<double>() + first;
        args.correct = correct.data<std::int64_t>() + first;
        args.first_id = options.first_id;
        cross_entropy(stream, args, options.group);
        if (!tape.records()) continue;
        const Tensor dlogits = gradient_buffer.view(0, {count, stride});
        tape.inexact(dlogits, Tape::Inexact::kLogitGradient);
        // [count, width] = [count, vocabulary] · [vocabulary, width];  [vocabulary, width] (+)= dlogitsᵀ · h
        matmul(stream, {.accumulate = dhidden.accumulate, .a_columns = vocabulary, .of = kHead}, dlogits,
               weight.value(), dhidden.target.view(first * width, {count, width}));
        matmul(stream,
               {.a_transposed = true,
                .accumulate = dweight.accumulate || first > 0,
                .a_columns = vocabulary,
                .of = kHead},
               dlogits, h, dweight.target);
    }
    LossSums sums{
        tape.record(Tensor::empty(stream, DType::f64, {1}), {hidden, weight}, [](Tape&, const Tensor&) {}),
        sum_samples<double>(stream, loss, options.length), sum_samples<double>(stream, nll, options.length),
        sum_samples<std::int64_t>(stream, correct, options.length)};
    return sums;
}

}  // namespace skein
