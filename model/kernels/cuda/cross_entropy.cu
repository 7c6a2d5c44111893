#include "model/kernels/cross_entropy.h"

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/element_type.cuh"
#include "model/kernels/cuda/math.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/row_loss.h"

namespace skein::kernels {
namespace cuda {

inline constexpr int kMostRowThreads = 1024, kSampleThreads = 256;
inline constexpr float kLowest = -3.4028235e38f;

/// A function of the vocabulary alone, for sums are grouped by it.
inline int threads_of_a_row(std::int64_t vocabulary) {
    return static_cast<int>(
        std::clamp<std::int64_t>(divide_up(vocabulary, 16 * kWarp) * kWarp, kWarp, kMostRowThreads));
}

/// Calls body(c, how many are left) for this thread's eights of a row: thread t those from 8 t on, every 8 ·
/// threads.
template <class Body>
__device__ inline void for_own_eights(std::int64_t width, const Body& body) {
    for (std::int64_t c = thread_index() * std::int64_t{8}; c < width; c += block_threads() * std::int64_t{8})
        body(c, width - c);
}

/// A row's eight from `from` on; what is past the row's end becomes `fill`.
template <bool kWhole>
__device__ inline Eight eight_of_row(const float* from, std::int64_t left, float fill) {
    Eight values = load_eight<kWhole>(from, left);
    if (left < 8)
        for (int i = 0; i < 8; ++i) values.v[i] = i < left ? values.v[i] : fill;
    return values;
}

/// kWhole, here and below: rows begin on multiples of 16 bytes and are padded to whole eights.
template <class T, bool kWhole>
__device__ inline void pad_row(const CrossEntropyArgs& args, T* gradient, std::int64_t r) {
    if (gradient)
        for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
            store_eight<kWhole>(gradient + c, eight_of(0.0f), left);
        });
    if (thread_index() == 0) {
        args.loss[r] = args.nll[r] = 0.0;
        args.correct[r] = 0;
    }
}

/// Whether a logit before `end` is as large as `highest`.
template <bool kWhole>
__device__ inline bool one_before_reaches(const float* x, std::int64_t end, float highest) {
    int reach = 0;
    for_own_eights(end, [&](std::int64_t c, std::int64_t left) {
        const Eight values = load_eight<kWhole>(x + c, left);
        for (int i = 0; i < 8; ++i) reach += i < left && values.v[i] == highest ? 1 : 0;
    });
    return block_sum(reach) > 0;
}

/// Of row r, whose logits it puts to `kept`, unless that is where they lie. As the functions below, all
/// threads of the block call it and get the same, and a thread reads and writes its own eights of `kept`
/// alone.
template <bool kWhole>
__device__ inline VocabularyPart part_of_row(const CrossEntropyArgs& args, std::int64_t r, float* kept) {
    const std::int64_t vocabulary = args.vocabulary, target = args.targets[r] - args.first_id;
    const float* x = args.logits + args.row(r);
    VocabularyPart part;
    part.ids = vocabulary;
    const bool holds = target >= 0 && target < vocabulary;
    if (holds) part.target = x[target];
    float highest = kLowest;
    for_own_eights(vocabulary, [&](std::int64_t c, std::int64_t left) {
        const Eight values = eight_of_row<kWhole>(x + c, left, kLowest);
        if (kept != x) store_eight<kWhole>(kept + c, values, left);
        for (int i = 0; i < 8; ++i) highest = values.v[i] > highest ? values.v[i] : highest;
    });
    part.highest = block_largest(highest);
    if (holds && part.target == part.highest && !one_before_reaches<kWhole>(kept, target, part.highest))
        part.target_is_first = 1;
    sync_threads();  // all have read the target's logit, which may become an exponential now
    return part;
}

/// Where a gradient is wanted, exp(x - highest) takes the logits' place in `kept`.
template <bool kWhole>
__device__ inline VocabularySums sums_of_row(const CrossEntropyArgs& args, float highest, float* kept) {
    double sums[2] = {0.0, 0.0};  // of the exponentials, and of x - highest
    for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
        Eight value = eight_of_row<kWhole>(kept + c, left, highest), e;
        for (int i = 0; i < 8; ++i) value.v[i] -= highest;
        for (int i = 0; i < 8; ++i) e.v[i] = exp_of(value.v[i]);
        if (left < 8)
            for (int i = 0; i < 8; ++i) e.v[i] = i < left ? e.v[i] : 0.0f;
        if (args.gradient) store_eight<kWhole>(kept + c, e, left);
        sums[0] += static_cast<double>(sum_of(e));
        if (args.smoothing > 0.0) sums[1] += static_cast<double>(sum_of(value));
    });
    block_sums(sums);
    return {sums[0], sums[1]};
}

/// Part i of the row is all.parts[i · rows + row_of_parts]; `kept` has what sums_of_row left there.
template <class T, bool kWhole>
__device__ inline void finish_row(const CrossEntropyArgs& args, T* gradient, std::int64_t r,
                                  const VocabularyParts& all, std::int64_t rows, std::int64_t row_of_parts,
                                  const float* kept) {
    const RowLoss row = row_loss(all, rows, row_of_parts, args.targets[r], args.smoothing,
                                 [](double value) { return log(value); });
    if (gradient) {
        const std::int64_t target = args.targets[r] - args.first_id;
        const double scale = static_cast<double>(args.device_scale ? args.gradient_scale * *args.device_scale
                                                                   : args.gradient_scale);
        const auto factor = static_cast<float>(scale / row.total),
                   uniform = static_cast<float>(-row.uniform_share * scale);
        const auto of_target = static_cast<float>((1.0 - args.smoothing) * scale);
        for_own_eights(args.vocabulary, [&](std::int64_t c, std::int64_t left) {
            Eight value = load_eight<kWhole>(kept + c, left);
            for (int i = 0; i < 8; ++i) {
                value.v[i] = fmaf(value.v[i], factor, uniform);
                if (c + i == target) value.v[i] -= of_target;
            }
            store_eight<kWhole>(gradient + c, value, left);
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
    return args.gradient ? static_cast<T*>(args.gradient.data) + args.row(r) : nullptr;
}

/// A block a row, which is read from the device's memory once where shared memory holds it (`shares`). T: the
/// gradient's, which in fp32 may lie where the logits do.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads, 1)
    cross_entropy_kernel(CrossEntropyArgs args, bool shares) {
    const std::int64_t r = block_index();
    T* gradient = gradient_of_row<T>(args, r);
    if (args.targets[r] < 0) return pad_row<T, kWhole>(args, gradient, r);
    float* kept = shares ? reinterpret_cast<float*>(dynamic_shared()) : args.logits + args.row(r);
    const VocabularyPart whole = part_of_row<kWhole>(args, r, kept);
    const VocabularySums sums = sums_of_row<kWhole>(args, whole.highest, kept);
    finish_row<T, kWhole>(args, gradient, r, {&whole, &sums}, 1, 0, kept);
}

/// A block a row.
template <bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads, 1)
    cross_entropy_parts_kernel(CrossEntropyArgs args, VocabularyPart* parts) {
    const std::int64_t r = block_index();
    const VocabularyPart part =
        args.targets[r] < 0 ? VocabularyPart{} : part_of_row<kWhole>(args, r, args.logits + args.row(r));
    if (thread_index() == 0) parts[r] = part;
}

/// A block a row.
template <bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads, 1)
    cross_entropy_sums_kernel(CrossEntropyArgs args, VocabularyParts all, VocabularySums* sums) {
    const std::int64_t r = block_index();
    const VocabularySums own = args.targets[r] < 0 ? VocabularySums{}
                                                   : sums_of_row<kWhole>(args, highest_of(all, args.rows, r),
                                                                         args.logits + args.row(r));
    if (thread_index() == 0) sums[r] = own;
}

/// A block a row.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kMostRowThreads, 1)
    cross_entropy_of_parts_kernel(CrossEntropyArgs args, VocabularyParts all) {
    const std::int64_t r = block_index();
    T* gradient = gradient_of_row<T>(args, r);
    if (args.targets[r] < 0) return pad_row<T, kWhole>(args, gradient, r);
    finish_row<T, kWhole>(args, gradient, r, all, args.rows, r, args.logits + args.row(r));
}

/// A thread a sample.
template <class Number>
__global__ void __launch_bounds__(kSampleThreads)
    sum_samples_kernel(const Number* of_rows, std::int64_t samples, std::int64_t length, Number* sums) {
    const std::int64_t sample = block_index() * kSampleThreads + thread_index();
    if (sample >= samples) return;
    Number total = 0;
    for (std::int64_t t = 0; t < length; ++t) total += of_rows[sample * length + t];
    sums[sample] = total;
}

}  // namespace cuda

using namespace cuda;

void cross_entropy(CudaStream& stream, const CrossEntropyArgs& args) {
    constexpr std::int64_t kStatic = 4 << 10;  // more than what the kernel's reductions have
    const std::int64_t bytes = divide_up(args.vocabulary, 8) * 8 * static_cast<std::int64_t>(sizeof(float));
    const bool shares = bytes <= most_dynamic_shared() - kStatic;
    for_element_type(args.gradient.dtype, [&]<class T>() {
        for_whole_eights(rows_are_aligned(args.row(1), args.logits, args.gradient.data), [&](auto whole) {
            launch_with_shared<cross_entropy_kernel<T, decltype(whole)::value>>(
                {args.rows, 1}, threads_of_a_row(args.vocabulary), shares ? static_cast<int>(bytes) : 0,
                stream, args, shares);
        });
    });
}

void cross_entropy_parts(CudaStream& stream, const CrossEntropyArgs& args, VocabularyPart* parts) {
    for_whole_eights(rows_are_aligned(args.row(1), args.logits), [&](auto whole) {
        launch<cross_entropy_parts_kernel<decltype(whole)::value>>(
            {args.rows, 1}, threads_of_a_row(args.vocabulary), stream, args, parts);
    });
}

void cross_entropy_sums(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all,
                        VocabularySums* sums) {
    for_whole_eights(rows_are_aligned(args.row(1), args.logits), [&](auto whole) {
        launch<cross_entropy_sums_kernel<decltype(whole)::value>>(
            {args.rows, 1}, threads_of_a_row(args.vocabulary), stream, args, all, sums);
    });
}

void cross_entropy_of_parts(CudaStream& stream, const CrossEntropyArgs& args, const VocabularyParts& all) {
    for_element_type(args.gradient.dtype, [&]<class T>() {
        for_whole_eights(rows_are_aligned(args.row(1), args.logits, args.gradient.data), [&](auto whole) {
            launch<cross_entropy_of_parts_kernel<T, decltype(whole)::value>>(
                {args.rows, 1}, threads_of_a_row(args.vocabulary), stream, args, all);
        });
    });
}

void sum_samples(CudaStream& stream, const double* of_rows, std::int64_t samples, std::int64_t length,
                 double* sums) {
    launch<sum_samples_kernel<double>>({divide_up(samples, kSampleThreads), 1}, kSampleThreads, stream,
                                       of_rows, samples, length, sums);
}

void sum_samples(CudaStream& stream, const std::int64_t* of_rows, std::int64_t samples, std::int64_t length,
                 std::int64_t* sums) {
    launch<sum_samples_kernel<std::int64_t>>({divide_up(samples, kSampleThreads), 1}, kSampleThreads, stream,
                                             of_rows, samples, length, sums);
}

}  // namespace skein::kernels
