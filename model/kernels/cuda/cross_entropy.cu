#include "model/kernels/cross_entropy.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/math.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/row_loss.h"

namespace skein::kernels {
namespace cuda {

inline constexpr int kRowThreads = 256;
inline constexpr float kLowest = -3.4028235e38f;

/// Calls body(c, how many are left) for this thread's eights of a row: thread t those from 8 t on, every 8 ·
/// threads.
template <class Body>
__device__ inline void for_own_eights(std::int64_t width, const Body& body) {
    for (std::int64_t c = thread_index() * std::int64_t{8}; c < width; c += kRowThreads * 8)
        body(c, width - c);
}

/// The largest logit of a row, and the first place where it stands.
__device__ inline Largest largest_of_row(const float* x, std::int64_t vocabulary, bool aligned) {
    const Largest none{kLowest, vocabulary};
    Largest best = none;
    for_own_eights(vocabulary, [&](std::int64_t c, std::int64_t left) {
        const Eight values = load_eight(x + c, left, aligned, kLowest);
        for (int i = 0; i < 8; ++i)
            if (i < left && values.v[i] > best.value) best = {values.v[i], c + i};
    });
    return block_largest(best, none);
}

template <class T>
__device__ inline void pad_row(const CrossEntropyArgs& args, T* gradient, std::int64_t r, bool aligned) {
    if (gradient)
        for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
            store_eight(gradient + c, eight_of(0.0f), left, aligned);
        });
    if (thread_index() == 0) {
        args.loss[r] = args.nll[r] = 0.0;
        args.correct[r] = 0;
    }
}

/// The same on all threads of the block.
__device__ inline VocabularyPart part_of_row(const CrossEntropyArgs& args, std::int64_t r, bool aligned) {
    const std::int64_t vocabulary = args.vocabulary, target = args.targets[r] - args.first_id;
    const float* x = args.logits + r * vocabulary;
    VocabularyPart part;
    part.ids = vocabulary;
    const bool holds = target >= 0 && target < vocabulary;
    if (holds) part.target = x[target];  // read by all before the barriers below, written after them
    const Largest largest = largest_of_row(x, vocabulary, aligned);
    part.highest = largest.value;
    part.target_is_first = holds && largest.index == target ? 1 : 0;
    return part;
}

/// Likewise.
__device__ inline VocabularySums sums_of_row(const CrossEntropyArgs& args, std::int64_t r, float highest,
                                             bool aligned) {
    const float* x = args.logits + r * args.vocabulary;
    double sums[2] = {0.0, 0.0};  // of the exponentials, and of x - highest
    for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
        Eight value = load_eight(x + c, left, aligned, highest), e;
        for (int i = 0; i < 8; ++i) {
            value.v[i] -= highest;
            e.v[i] = i < left ? exp_of(value.v[i]) : 0.0f;
        }
        sums[0] += static_cast<double>(sum_of(e));
        sums[1] += static_cast<double>(sum_of(value));
    });
    block_sums(sums);
    return {sums[0], sums[1]};
}

/// Part i of the row is all.parts[i · rows + row_of_parts]. A thread reads each of its logits before it
/// writes there.
template <class T>
__device__ inline void finish_row(const CrossEntropyArgs& args, T* gradient, std::int64_t r,
                                  const VocabularyParts& all, std::int64_t rows, std::int64_t row_of_parts,
                                  bool aligned) {
    const float* x = args.logits + r * args.vocabulary;
    const RowLoss row = row_loss(all, rows, row_of_parts, args.targets[r], args.smoothing,
                                 [](double value) { return log(value); });
    if (gradient) {
        const float highest = highest_of(all, rows, row_of_parts);
        const std::int64_t target = args.targets[r] - args.first_id;
        const double scale = static_cast<double>(args.device_scale ? args.gradient_scale * *args.device_scale
                                                                   : args.gradient_scale);
        const auto factor = static_cast<float>(scale / row.total),
                   uniform = static_cast<float>(-row.uniform_share * scale);
        const auto of_target = static_cast<float>((1.0 - args.smoothing) * scale);
        for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
            Eight value = load_eight(x + c, left, aligned);
            for (int i = 0; i < 8; ++i) {
                value.v[i] = fmaf(exp_of(value.v[i] - highest), factor, uniform);
                if (c + i == target) value.v[i] -= of_target;
            }
            store_eight(gradient + c, value, left, aligned);
        });
    }
    if (thread_index() == 0) {
        args.nll[r] = row.nll;
        args.loss[r] = row.loss;
        args.correct[r] = row.correct;
    }
}

template <class T>
__device__ inline T* gradient_of_row(const CrossEntropyArgs& args, std::int64_t r) {
    return args.gradient ? static_cast<T*>(args.gradient.data) + r * args.vocabulary : nullptr;
}

/// A block a row. T: the gradient's, which in fp32 may lie where the logits do.
template <class T>
__global__ void __launch_bounds__(kRowThreads) cross_entropy_kernel(CrossEntropyArgs args, bool aligned) {
    const std::int64_t r = block_index();
    T* gradient = gradient_of_row<T>(args, r);
    if (args.targets[r] < 0) return pad_row(args, gradient, r, aligned);
    const VocabularyPart whole = part_of_row(args, r, aligned);
    const VocabularySums sums = sums_of_row(args, r, whole.highest, aligned);
    finish_row(args, gradient, r, {&whole, &sums}, 1, 0, aligned);
}

/// A block a row.
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_parts_kernel(CrossEntropyArgs args, VocabularyPart* parts, bool aligned) {
    const std::int64_t r = block_index();
    const VocabularyPart part = args.targets[r] < 0 ? VocabularyPart{} : part_of_row(args, r, aligned);
    if (thread_index() == 0) parts[r] = part;
}

/// A block a row.
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_sums_kernel(CrossEntropyArgs args, VocabularyParts all, VocabularySums* sums,
                              bool aligned) {
    const std::int64_t r = block_index();
    const VocabularySums own =
        args.targets[r] < 0 ? VocabularySums{} : sums_of_row(args, r, highest_of(all, args.rows, r), aligned);
    if (thread_index() == 0) sums[r] = own;
}

/// A block a row.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_of_parts_kernel(CrossEntropyArgs args, VocabularyParts all, bool aligned) {
    const std::int64_t r = block_index();
    T* gradient = gradient_of_row<T>(args, r);
    if (args.targets[r] < 0) return pad_row(args, gradient, r, aligned);
    finish_row(args, gradient, r, all, args.rows, r, aligned);
}

/// A thread a sample.
template <class Number>
__global__ void __launch_bounds__(kRowThreads)
    sum_samples_kernel(const Number* of_rows, std::int64_t samples, std::int64_t length, Number* sums) {
    const std::int64_t sample = block_index() * kRowThreads + thread_index();
    if (sample >= samples) return;
    Number total = 0;
    for (std::int64_t t = 0; t < length; ++t) total += of_rows[sample * length + t];
    sums[sample] = total;
}

}  // namespace cuda

using namespace cuda;

void cross_entropy(CudaStream& stream, const CrossEntropyArgs& args) {
    for_element_type(args.gradient.dtype, [&]<class T>() {
        launch<cross_entropy_kernel<T>>({args.rows, 1}, kRowThreads, stream, args,
                                        rows_are_aligned(args.vocabulary, args.logits, args.gradient.data));
    });
}

void cross_entropy_parts(CudaStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts) {
    launch<cross_entropy_parts_kernel>({args.rows, 1}, kRowThreads, stream, args, parts,
                                       rows_are_aligned(args.vocabulary, args.logits));
}

void cross_entropy_sums(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all,
                        VocabularySums* sums) {
    launch<cross_entropy_sums_kernel>({args.rows, 1}, kRowThreads, stream, args, all, sums,
                                      rows_are_aligned(args.vocabulary, args.logits));
}

void cross_entropy_of_parts(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all) {
    for_element_type(args.gradient.dtype, [&]<class T>() {
        launch<cross_entropy_of_parts_kernel<T>>(
            {args.rows, 1}, kRowThreads, stream, args, all,
            rows_are_aligned(args.vocabulary, args.logits, args.gradient.data));
    });
}

void sum_samples(CudaStream& stream, const double* of_rows, std::int64_t samples, std::int64_t length,
                 double* sums) {
    launch<sum_samples_kernel<double>>({divide_up(samples, kRowThreads), 1}, kRowThreads, stream, of_rows,
                                       samples, length, sums);
}

void sum_samples(CudaStream& stream, const std::int64_t* of_rows, std::int64_t samples, std::int64_t length,
                 std::int64_t* sums) {
    launch<sum_samples_kernel<std::int64_t>>({divide_up(samples, kRowThreads), 1}, kRowThreads, stream,
                                             of_rows, samples, length, sums);
}

}  // namespace skein::kernels
