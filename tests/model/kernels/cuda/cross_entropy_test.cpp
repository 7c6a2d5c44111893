#include "model/kernels/cross_entropy.h"

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaCrossEntropy : public ::testing::Test {};
TYPED_TEST_SUITE(CudaCrossEntropy, ElementTypes);

enum class Gradient { kNone, kApart, kInPlace };

template <class T>
struct Outcome {
    std::vector<T> gradient;
    std::vector<double> loss, nll;
    std::vector<std::int64_t> correct;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Rows of `width` at every `stride`, with NaN between them, and back.
Floats padded_rows(const Floats& rows, std::int64_t width, std::int64_t stride) {
    Floats out(rows.size() / static_cast<std::size_t>(width) * static_cast<std::size_t>(stride), NAN);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto at_i = static_cast<std::int64_t>(i);
        at(out, at_i / width * stride + at_i % width) = rows[i];
    }
    return out;
}
template <class T>
std::vector<T> without_padding(const std::vector<T>& rows, std::int64_t width, std::int64_t stride) {
    std::vector<T> out;
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (static_cast<std::int64_t>(i) % stride < width) out.push_back(rows[i]);
    return out;
}

template <class T>
Outcome<T> run(auto& stream, CrossEntropyArgs args, Floats logits, Gradient gradient) {
    const auto rows = static_cast<std::size_t>(args.rows);
    const std::int64_t stride = args.row(1);
    logits = padded_rows(logits, args.vocabulary, stride);
    Outcome<T> out{std::vector<T>(logits.size()), std::vector<double>(rows, -1.0),
                   std::vector<double>(rows, -1.0), std::vector<std::int64_t>(rows, -1)};
    args.logits = logits.data();
    if (gradient == Gradient::kApart) args.gradient = out.gradient.data();
    if (gradient == Gradient::kInPlace) args.gradient = logits.data();
    args.loss = out.loss.data();
    args.nll = out.nll.data();
    args.correct = out.correct.data();
    cross_entropy(stream, args);
    if (gradient == Gradient::kInPlace) out.gradient = rounded<T>(logits);
    out.gradient = without_padding(out.gradient, args.vocabulary, stride);
    return out;
}

/// T: the gradient's.
template <class T>
void check(std::int64_t rows, std::int64_t vocabulary, double smoothing, Gradient gradient, float size,
           std::int64_t padding = 0) {
    SCOPED_TRACE(::testing::Message()
                 << "vocabulary " << vocabulary << ", padding " << padding << ", smoothing " << smoothing);
    Floats logits = random_floats(rows * vocabulary, 1, size);
    std::vector<std::int32_t> targets = random_ids(rows, static_cast<std::int32_t>(vocabulary), 2);
    at(targets, 1) = -1;
    at(targets, 2) = -7;
    // a target that is the largest, and one that is as large as an earlier one
    const float largest = 20.0f * size;
    at(logits, 3 * vocabulary + at(targets, 3)) = largest;
    if (vocabulary > 1) {
        at(targets, 4) = static_cast<std::int32_t>(vocabulary) - 1;
        at(logits, 4 * vocabulary) = at(logits, 5 * vocabulary - 1) = largest;
    }
    const Floats device_scale{0.5f};
    CrossEntropyArgs args{.rows = rows, .vocabulary = vocabulary};
    if (padding > 0) args.stride = vocabulary + padding;
    args.targets = targets.data();
    args.smoothing = smoothing;
    args.gradient_scale = smoothing > 0.0 ? 1.5f : 0.75f;
    if (smoothing > 0.0) args.device_scale = device_scale.data();
    const auto found = in_every_order([&] {
        ShimStream stream;
        return run<T>(stream, args, logits, gradient);
    });
    Pool pool;
    CpuStream cpu{1, &pool};
    args.gradient_scale = 0.75f;
    args.device_scale = nullptr;
    const auto wanted = run<float>(cpu, args, logits, gradient);
    EXPECT_EQ(found.correct, wanted.correct);
    EXPECT_EQ(at(found.correct, 3), 1);
    // the exponentials have the same bits; eights of them are added in fp32, the rest in fp64, where the CPU
    // adds blocks of 512 in fp32: relative 1e-7 in the sum is that in the gradient, and absolute in the loss
    expect_near(found.gradient, wanted.gradient, 1e-6);
    for (std::int64_t r = 0; r < rows; ++r) {
        EXPECT_NEAR(at(found.nll, r), at(wanted.nll, r), 1e-6 * (1.0 + at(wanted.nll, r)));
        EXPECT_NEAR(at(found.loss, r), at(wanted.loss, r), 1e-6 * (1.0 + at(wanted.loss, r)));
    }
}

TYPED_TEST(CudaCrossEntropy, MatchesTheCpuLossAndGradient) {
    for (const std::int64_t vocabulary : {1, 3, 65, 256, 5003})
        for (const double smoothing : {0.0, 0.1})
            check<TypeParam>(7, vocabulary, smoothing, Gradient::kApart, 3.0f);
}

TYPED_TEST(CudaCrossEntropy, TakesRowsThatArePadded) {
    for (const auto& [vocabulary, padding] :
         {std::pair{65, 7}, {65, 3}, {64, 8}, {5003, 5}, {1, 7}, {60001, 7}})
        for (const double smoothing : {0.0, 0.1})
            check<TypeParam>(6, vocabulary, smoothing, Gradient::kApart, 3.0f, padding);
    check<float>(7, 65, 0.1, Gradient::kInPlace, 3.0f, 7);
}

TEST(CudaCrossEntropyInFp32, MayPutTheGradientWhereTheLogitsLieOrNowhere) {
    for (const std::int64_t vocabulary : {1, 65, 5003})
        for (const Gradient gradient : {Gradient::kInPlace, Gradient::kNone})
            check<float>(7, vocabulary, 0.1, gradient, 3.0f);
}

TYPED_TEST(CudaCrossEntropy, MatchesTheCpuWhereSharedMemoryDoesNotHoldARow) {
    for (const std::int64_t vocabulary : {60000, 60001})  // 234 KiB, and no architecture has more than 227
        check<TypeParam>(6, vocabulary, 0.1, Gradient::kApart, 3.0f);
}

TYPED_TEST(CudaCrossEntropy, StandsLogitsThatOverflowAnExponential) {
    check<TypeParam>(7, 2064, 0.1, Gradient::kApart, 200.0f);
}

TEST(CudaSumSamples, AddInOrderAsTheCpuDoes) {
    for (const auto& [samples, length] : {std::pair{1, 1}, {3, 70}, {300, 5}}) {
        const Floats values = random_floats(samples * length, 5);
        const std::vector<double> of_rows(values.begin(), values.end());
        std::vector<std::int64_t> numbers;
        for (const float value : values) numbers.push_back(static_cast<std::int64_t>(value * 1e6f));
        std::vector<double> wanted(static_cast<std::size_t>(samples));
        std::vector<std::int64_t> wanted_numbers(wanted.size());
        CpuStream cpu{2, nullptr};
        sum_samples(cpu, of_rows.data(), samples, length, wanted.data());
        sum_samples(cpu, numbers.data(), samples, length, wanted_numbers.data());
        const auto found = in_every_order([&] {
            ShimStream stream;
            std::pair out(std::vector<double>(wanted.size()), std::vector<std::int64_t>(wanted.size()));
            sum_samples(stream, of_rows.data(), samples, length, out.first.data());
            sum_samples(stream, numbers.data(), samples, length, out.second.data());
            return out;
        });
        EXPECT_EQ(found, std::pair(wanted, wanted_numbers));
        double first = 0.0;
        for (int t = 0; t < length; ++t) first += at(of_rows, t);
        EXPECT_EQ(wanted[0], first);
    }
}

TEST(CudaCrossEntropyNan, ComesOutAsNan) {
    ShimStream stream;
    Floats logits(100);
    logits[70] = NAN;
    const std::vector<std::int32_t> target{3};
    std::vector<double> loss(1), nll(1);
    std::vector<std::int64_t> correct(1);
    CrossEntropyArgs args{.rows = 1, .vocabulary = 100};
    args.logits = logits.data();
    args.targets = target.data();
    args.loss = loss.data();
    args.nll = nll.data();
    args.correct = correct.data();
    cross_entropy(stream, args);
    EXPECT_TRUE(std::isnan(loss[0]));
}

/// A vocabulary whose part i has the ids cuts[i] ... cuts[i + 1] - 1: the losses, and the parts' gradients
/// one behind the other, on a stream of either kind.
template <class T>
Outcome<T> run_in_parts(auto& stream, const CrossEntropyArgs& whole, const Floats& logits,
                        const std::vector<std::int64_t>& cuts, Gradient gradient) {
    const auto rows = static_cast<std::size_t>(whole.rows);
    const int parts = static_cast<int>(cuts.size()) - 1;
    std::vector<VocabularyPart> all(static_cast<std::size_t>(parts) * rows);
    Outcome<T> out{{},
                   std::vector<double>(rows, -1.0),
                   std::vector<double>(rows, -1.0),
                   std::vector<std::int64_t>(rows, -1)};
    std::vector<Floats> own_logits(cuts.size());
    std::vector<std::vector<T>> own_gradients(cuts.size());
    std::vector<CrossEntropyArgs> args(cuts.size(), whole);
    for (int i = 0; i < parts; ++i) {
        Floats& x = at(own_logits, i);
        for (std::int64_t r = 0; r < whole.rows; ++r)
            for (std::int64_t v = at(cuts, i); v < at(cuts, i + 1); ++v)
                x.push_back(at(logits, r * whole.vocabulary + v));
        at(own_gradients, i).resize(x.size());
        CrossEntropyArgs& own = at(args, i);
        own.first_id = at(cuts, i);
        own.vocabulary = at(cuts, i + 1) - own.first_id;
        own.logits = x.data();
        if (gradient == Gradient::kApart) own.gradient = at(own_gradients, i).data();
        if (gradient == Gradient::kInPlace) own.gradient = x.data();
        cross_entropy_parts(stream, own, all.data() + i * whole.rows);
    }
    std::vector<VocabularySums> sums(all.size());
    const VocabularyParts of_all{all.data(), sums.data(), parts};
    for (int i = 0; i < parts; ++i)
        cross_entropy_sums(stream, at(args, i), of_all, sums.data() + i * whole.rows);
    for (int i = 0; i < parts; ++i) {
        Outcome<T> of_part{{}, out.loss, out.nll, out.correct};
        at(args, i).loss = of_part.loss.data();
        at(args, i).nll = of_part.nll.data();
        at(args, i).correct = of_part.correct.data();
        cross_entropy_of_parts(stream, at(args, i), of_all);
        of_part.gradient = out.gradient;
        if (i > 0) {
            EXPECT_TRUE(of_part == out) << "rank " << i << " has other losses";
        }
        out = std::move(of_part);
        std::vector<T>& own = at(own_gradients, i);
        if (gradient == Gradient::kInPlace) own = rounded<T>(at(own_logits, i));
        out.gradient.insert(out.gradient.end(), own.begin(), own.end());
    }
    return out;
}

template <class T>
void check_parts(const std::vector<std::int64_t>& cuts, double smoothing, Gradient gradient, float size) {
    SCOPED_TRACE(::testing::Message()
                 << cuts.size() - 1 << " parts of " << cuts.back() << ", smoothing " << smoothing);
    const std::int64_t rows = 7, vocabulary = cuts.back();
    Floats logits = random_floats(rows * vocabulary, 1, size);
    std::vector<std::int32_t> targets = random_ids(rows, static_cast<std::int32_t>(vocabulary), 2);
    at(targets, 1) = -1;
    // a target that is the largest, and equal largest ones in the first and the last part
    const float largest = 20.0f * size;
    at(logits, 3 * vocabulary + at(targets, 3)) = largest;
    at(targets, 4) = static_cast<std::int32_t>(vocabulary) - 1;
    at(targets, 5) = 0;
    for (const std::int64_t r : {4, 5})
        at(logits, r * vocabulary) = at(logits, (r + 1) * vocabulary - 1) = largest;
    const Floats device_scale{0.5f};
    CrossEntropyArgs args{.rows = rows, .vocabulary = vocabulary};
    args.targets = targets.data();
    args.smoothing = smoothing;
    args.gradient_scale = 1.5f;
    args.device_scale = device_scale.data();
    const auto found = in_every_order([&] {
        ShimStream stream;
        return run_in_parts<T>(stream, args, logits, cuts, gradient);
    });
    Pool pool;
    CpuStream cpu{1, &pool};
    const auto wanted = run_in_parts<float>(cpu, args, logits, cuts, gradient);
    EXPECT_EQ(found.correct, wanted.correct);
    EXPECT_EQ(at(found.correct, 3), 1);
    EXPECT_EQ(at(found.correct, 4), 0);
    EXPECT_EQ(at(found.correct, 5), 1);
    if (gradient != Gradient::kNone) expect_near(found.gradient, wanted.gradient, 1e-6);  // as for the whole
    for (std::int64_t r = 0; r < rows; ++r) {
        EXPECT_NEAR(at(found.nll, r), at(wanted.nll, r), 1e-6 * (1.0 + at(wanted.nll, r)));
        EXPECT_NEAR(at(found.loss, r), at(wanted.loss, r), 1e-6 * (1.0 + at(wanted.loss, r)));
    }
}

TYPED_TEST(CudaCrossEntropy, OfPartsMatchesTheCpus) {
    for (const double smoothing : {0.0, 0.1}) {
        check_parts<TypeParam>({0, 3, 64, 64, 65}, smoothing, Gradient::kApart, 3.0f);
        check_parts<TypeParam>({0, 2064, 5003}, smoothing, Gradient::kApart, 3.0f);
    }
    check_parts<TypeParam>({0, 8, 24, 48}, 0.1, Gradient::kApart, 200.0f);  // exponentials across parts are 0
}

TEST(CudaCrossEntropyInFp32, OfPartsMayPutTheGradientWhereTheLogitsLieOrNowhere) {
    for (const Gradient gradient : {Gradient::kInPlace, Gradient::kNone})
        check_parts<float>({0, 17, 65}, 0.1, gradient, 3.0f);
}

TYPED_TEST(CudaCrossEntropy, OfPartsHasTheBitsOfTheWholeWhereOneHasAllIds) {
    const std::int64_t rows = 5, vocabulary = 333;
    const Floats logits = random_floats(rows * vocabulary, 1, 3.0f);
    std::vector<std::int32_t> targets = random_ids(rows, vocabulary, 2);
    at(targets, 1) = -1;
    CrossEntropyArgs args{.rows = rows, .vocabulary = vocabulary};
    args.targets = targets.data();
    args.smoothing = 0.1;
    ShimStream stream;
    const auto whole = run<TypeParam>(stream, args, logits, Gradient::kApart);
    for (const std::vector<std::int64_t>& cuts :
         {std::vector<std::int64_t>{0, vocabulary}, {0, 0, vocabulary}, {0, vocabulary, vocabulary}})
        EXPECT_TRUE(run_in_parts<TypeParam>(stream, args, logits, cuts, Gradient::kApart) == whole);
}

}  // namespace
}  // namespace skein::kernels::cuda
