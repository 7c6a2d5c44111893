#include "model/kernels/cuda/cross_entropy.h"

#include "model/kernels/cross_entropy.h"
#include "model/tensor/stream.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaCrossEntropy : public ::testing::Test {};
TYPED_TEST_SUITE(CudaCrossEntropy, ElementTypes);

template <class T>
struct Outcome {
    std::vector<T> logits;
    std::vector<double> loss, nll;
    std::vector<std::int64_t> correct;
    explicit Outcome(const Floats& values, std::int64_t rows)
        : logits(rounded<T>(values)),
          loss(static_cast<std::size_t>(rows), -1.0),
          nll(loss),
          correct(static_cast<std::size_t>(rows), -1) {}
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

// In the place of the logits.
void want_gradient(kernels::CrossEntropyArgs& args) {
    args.gradient = args.logits;
}
template <class T>
void want_gradient(CrossEntropyArgs<T>& args) {
    args.gradient = true;
}

template <class Stream, class Args, class T>
Outcome<T> run(Args args, bool gradient, Outcome<T> out) {
    Stream stream{};
    args.logits = out.logits.data();
    if (gradient) want_gradient(args);
    args.loss = out.loss.data();
    args.nll = out.nll.data();
    args.correct = out.correct.data();
    cross_entropy(stream, args);
    return out;
}

template <class T>
void check(std::int64_t rows, std::int64_t vocabulary, double smoothing, bool gradient, float size) {
    SCOPED_TRACE(::testing::Message() << "vocabulary " << vocabulary << ", smoothing " << smoothing);
    Floats logits = random_in<T>(rows * vocabulary, 1, size);
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
    const auto fill = [&](auto args) {
        args.rows = rows;
        args.vocabulary = vocabulary;
        args.targets = targets.data();
        args.smoothing = smoothing;
        args.gradient_scale = 0.75f;
        return args;
    };
    const auto found = in_every_order(
        [&] { return run<CudaStream>(fill(CrossEntropyArgs<T>{}), gradient, Outcome<T>(logits, rows)); });
    const auto wanted =
        run<CpuStream>(fill(kernels::CrossEntropyArgs{}), gradient, Outcome<float>(logits, rows));
    EXPECT_EQ(found.correct, wanted.correct);
    EXPECT_EQ(at(found.correct, 3), 1);
    // the exponentials have the same bits; eights of them are added in fp32, the rest in fp64, where the CPU
    // adds blocks of 512 in fp32: relative 1e-7 in the sum is that in the gradient, and absolute in the loss
    expect_near(found.logits, wanted.logits, 1e-6);
    for (std::int64_t r = 0; r < rows; ++r) {
        EXPECT_NEAR(at(found.nll, r), at(wanted.nll, r), 1e-6 * (1.0 + at(wanted.nll, r)));
        EXPECT_NEAR(at(found.loss, r), at(wanted.loss, r), 1e-6 * (1.0 + at(wanted.loss, r)));
    }
}

TYPED_TEST(CudaCrossEntropy, MatchesTheCpuLossAndGradient) {
    for (const std::int64_t vocabulary : {1, 3, 65, 256, 5003})
        for (const double smoothing : {0.0, 0.1})
            for (const bool gradient : {false, true})
                check<TypeParam>(7, vocabulary, smoothing, gradient, 3.0f);
}

TYPED_TEST(CudaCrossEntropy, StandsLogitsThatOverflowAnExponential) {
    check<TypeParam>(7, 2064, 0.1, true, 200.0f);
}

TEST(CudaCrossEntropyNan, ComesOutAsNan) {
    CudaStream stream;
    Floats logits(100);
    logits[70] = NAN;
    const std::vector<std::int32_t> target{3};
    std::vector<double> loss(1), nll(1);
    std::vector<std::int64_t> correct(1);
    CrossEntropyArgs<float> args{.rows = 1, .vocabulary = 100};
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
