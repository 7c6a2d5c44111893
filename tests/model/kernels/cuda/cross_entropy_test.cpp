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

template <class T>
Outcome<T> run(auto& stream, CrossEntropyArgs args, Floats logits, Gradient gradient) {
    const auto rows = static_cast<std::size_t>(args.rows);
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
    return out;
}

/// T: the gradient's.
template <class T>
void check(std::int64_t rows, std::int64_t vocabulary, double smoothing, Gradient gradient, float size) {
    SCOPED_TRACE(::testing::Message() << "vocabulary " << vocabulary << ", smoothing " << smoothing);
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
    args.targets = targets.data();
    args.smoothing = smoothing;
    args.gradient_scale = smoothing > 0.0 ? 1.5f : 0.75f;
    if (smoothing > 0.0) args.device_scale = device_scale.data();
    const auto found = in_every_order([&] {
        ShimStream stream;
        return run<T>(stream, args, logits, gradient);
    });
    CpuStream cpu;
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

TEST(CudaCrossEntropyInFp32, MayPutTheGradientWhereTheLogitsLieOrNowhere) {
    for (const std::int64_t vocabulary : {1, 65, 5003})
        for (const Gradient gradient : {Gradient::kInPlace, Gradient::kNone})
            check<float>(7, vocabulary, 0.1, gradient, 3.0f);
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

}  // namespace
}  // namespace skein::kernels::cuda
