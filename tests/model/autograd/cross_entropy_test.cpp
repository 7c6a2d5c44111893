// The output projection fused with its loss.
#include "model/autograd/ops/cross_entropy.h"

#include "model/autograd/ops/linear.h"
#include "model/base/error.h"
#include "tests/support/gradient_check.h"
#include "tests/support/reference_ops.h"
#include "tests/support/thread_ranks.h"

namespace skein::test {
namespace {

struct Problem {
    std::int64_t samples = 2, length = 3, width = 5, vocabulary = 7;
    std::vector<std::int32_t> targets;
    double smoothing = 0.0, gradient_scale = 1.0;
};

struct Outcome {
    std::vector<double> loss, nll;
    std::vector<std::int64_t> correct;
    std::vector<float> hidden, weight;  // gradients
};

Outcome run(const Problem& p, const std::vector<float>& hidden, const std::vector<float>& weight,
            int threads = 2, bool twice = false) {
    Stream stream(test_gpu(), threads);
    Leaf hidden_leaf, weight_leaf;
    hidden_leaf.value = Tensor::from<float>(stream, {p.samples * p.length, p.width}, hidden);
    weight_leaf.value = Tensor::from<float>(stream, {p.vocabulary, p.width}, weight);
    for (Leaf* leaf : {&hidden_leaf, &weight_leaf})
        leaf->gradient = Tensor::empty(stream, DType::f32, leaf->value.shape());
    Outcome outcome;
    for (int pass = 0; pass < (twice ? 2 : 1); ++pass) {
        Tape tape(stream);
        const Tensor targets = Tensor::from<std::int32_t>(stream, {p.samples, p.length}, p.targets);
        const LossSums sums = linear_cross_entropy(
            tape.leaf(hidden_leaf), tape.leaf(weight_leaf), targets,
            {.label_smoothing = p.smoothing, .gradient_scale = p.gradient_scale, .length = p.length});
        tape.backward(sums.root);
        outcome.loss = values_of<double>(stream, sums.loss);
        outcome.nll = values_of<double>(stream, sums.nll);
        outcome.correct = values_of<std::int64_t>(stream, sums.correct);
    }
    outcome.hidden = floats_of(stream, hidden_leaf.gradient);
    outcome.weight = floats_of(stream, weight_leaf.gradient);
    return outcome;
}

/// Sums of the reference, and its gradient by reverse mode; by finite differences where `step` is not zero.
void check(const Problem& p, bool finite_differences) {
    const std::vector<float> hidden = random_floats(p.samples * p.length * p.width, 1);
    const std::vector<float> weight = random_floats(p.vocabulary * p.width, 2);
    const auto total = [&](const fp64::Matrix& h, const fp64::Matrix& w, Outcome* sums) {
        fp64::Scalar all;
        for (std::int64_t sample = 0; sample < p.samples; ++sample) {
            double loss = 0.0, nll = 0.0;
            std::int64_t correct = 0;
            for (std::int64_t t = 0; t < p.length; ++t) {
                const std::int64_t row = sample * p.length + t;
                std::vector<fp64::Scalar> logits;
                for (std::int64_t v = 0; v < p.vocabulary; ++v)
                    logits.push_back(fp64::dot(h.row(row), w.row(v)));
                const fp64::RowLoss one = fp64::cross_entropy(logits, at(p.targets, row), p.smoothing);
                all = all + p.gradient_scale * one.loss;
                loss += one.loss.value();
                nll += one.nll;
                correct += one.correct;
            }
            if (sums) {
                sums->loss.push_back(loss);
                sums->nll.push_back(nll);
                sums->correct.push_back(correct);
            }
        }
        return all;
    };
    fp64::Graph graph;
    const auto matrices = reference_inputs(
        graph, {Input({p.samples * p.length, p.width}, 1), Input({p.vocabulary, p.width}, 2)});
    Outcome wanted;
    graph.backward(total(matrices[0], matrices[1], &wanted));

    for (std::size_t n = 0; finite_differences && n < 2; ++n)
        for (std::size_t i = 0; i < matrices[n].values.size(); ++i) {
            const auto shifted = [&](double by) {
                auto inputs = matrices;
                for (auto& matrix : inputs)
                    for (auto& scalar : matrix.values) scalar = scalar.value();
                inputs[n].values[i] = inputs[n].values[i].value() + by;
                return total(inputs[0], inputs[1], nullptr).value();
            };
            ASSERT_NEAR(graph.gradient(matrices[n].values[i]), (shifted(1e-5) - shifted(-1e-5)) / 2e-5, 1e-6);
        }

    for (const bool twice : {false, true}) {
        const Outcome found = run(p, hidden, weight, 2, twice);
        for (std::int64_t sample = 0; sample < p.samples; ++sample) {
            // logits carry fp32's rounding, about 1e-7 of their size, into sums over `length` rows
            EXPECT_NEAR(at(found.loss, sample), at(wanted.loss, sample),
                        1e-6 * (1.0 + at(wanted.loss, sample)));
            EXPECT_NEAR(at(found.nll, sample), at(wanted.nll, sample), 1e-6 * (1.0 + at(wanted.nll, sample)));
            EXPECT_EQ(at(found.correct, sample), at(wanted.correct, sample));
        }
        for (std::size_t n = 0; n < 2; ++n) {
            std::vector<double> gradient;
            for (const auto& scalar : matrices[n].values)
                gradient.push_back((twice ? 2 : 1) * graph.gradient(scalar));
            expect_close(n == 0 ? found.hidden : found.weight, gradient, 2e-5, n == 0 ? "hidden" : "weight");
        }
    }
}

TEST(LinearCrossEntropy, GradientsMatchFiniteDifferencesWithSmoothingPaddingAndScale) {
    for (const double smoothing : {0.0, 0.1}) {
        Problem p;
        p.targets = {3, 0, 6, 2, -1, -7};
        p.smoothing = smoothing;
        p.gradient_scale = 0.25;
        check(p, true);
    }
}

TEST(LinearCrossEntropy, IsTheSameOverSeveralBlocksOfRows) {
    // 64 MiB of logits are 64 rows at this vocabulary: 130 rows are blocks of 64, 64 and 2
    Problem p;
    p.samples = 5, p.length = 26, p.width = 2, p.vocabulary = 240'001;
    p.targets = random_ids(130, 240'001, 3);
    p.targets[70] = -1;
    p.smoothing = 0.1;
    p.gradient_scale = 1.0 / 129;
    const std::vector<float> hidden = random_floats(130 * 2, 1), weight = random_floats(p.vocabulary * 2, 2);
    const Outcome found = run(p, hidden, weight);
    // fp64, without a graph of 31 million nodes
    std::vector<double> weight_gradient(weight.size()), hidden_gradient(hidden.size()), nll(5);
    std::vector<double> exponential(static_cast<std::size_t>(p.vocabulary));
    for (std::int64_t row = 0; row < 130; ++row) {
        const std::int32_t target = at(p.targets, row);
        if (target < 0) continue;
        const double h0 = static_cast<double>(at(hidden, 2 * row)),
                     h1 = static_cast<double>(at(hidden, 2 * row + 1));
        double total = 0.0;
        for (std::int64_t v = 0; v < p.vocabulary; ++v)
            total += at(exponential, v) = std::exp(h0 * static_cast<double>(at(weight, 2 * v)) +
                                                   h1 * static_cast<double>(at(weight, 2 * v + 1)));
        at(nll, row / p.length) += std::log(total) - std::log(at(exponential, target));
        for (std::int64_t v = 0; v < p.vocabulary; ++v) {
            const double gradient =
                p.gradient_scale * (at(exponential, v) / total - (v == target ? 0.9 : 0.0) -
                                    0.1 / static_cast<double>(p.vocabulary));
            at(weight_gradient, 2 * v) += gradient * h0;
            at(weight_gradient, 2 * v + 1) += gradient * h1;
            at(hidden_gradient, 2 * row) += gradient * static_cast<double>(at(weight, 2 * v));
            at(hidden_gradient, 2 * row + 1) += gradient * static_cast<double>(at(weight, 2 * v + 1));
        }
    }
    for (std::int64_t sample = 0; sample < p.samples; ++sample)
        EXPECT_NEAR(at(found.nll, sample), at(nll, sample), 1e-6 * at(nll, sample));
    expect_close(found.weight, weight_gradient, 2e-5, "weight");
    // The CPU adds its 240,001 terms in blocks. A GPU may add them one by one, in fp32: with terms that are
    // exact, that alone is off by up to 3.2e-4 of a typical element.
    expect_close(found.hidden, hidden_gradient, test_gpu() ? 4e-4 : 2e-5, "hidden");
}

TEST(LinearCrossEntropy, OnAnInferenceTapeGivesTheSameLossAndTouchesNoGradient) {
    Stream stream(test_gpu(), 2);
    Leaf weight;
    weight.value = Tensor::from<float>(stream, {7, 5}, random_floats(35, 2));
    const Tensor targets =
        Tensor::from<std::int32_t>(stream, {6}, std::vector<std::int32_t>{3, 0, 6, 2, -1, 1});
    const Tensor hidden = Tensor::from<float>(stream, {6, 5}, random_floats(30, 1));
    Tape inference(stream, Tape::Mode::kInference);
    const LossSums inferred =
        linear_cross_entropy(inference.constant(hidden), inference.leaf(weight), targets, {.length = 3});
    EXPECT_FALSE(weight.accumulate);
    weight.gradient = Tensor::zeros(stream, DType::f32, {7, 5});
    Tape tape(stream);
    const LossSums recorded =
        linear_cross_entropy(tape.constant(hidden), tape.leaf(weight), targets, {.length = 3});
    EXPECT_EQ(values_of<double>(stream, inferred.loss), values_of<double>(stream, recorded.loss));
    EXPECT_THROW(inference.backward(inferred.root), ShapeError);
}

TEST(LinearCrossEntropy, OnRanksWhosePartsDifferWorksOnTheSameRowsAtATime) {
    // on the CPU 64 MiB of logits are 128 rows of 131,072 ids, but 64, of whole 64s, of 131,080; on a GPU all
    // rows are one block
    constexpr std::int64_t kFirst = 131'072, kSecond = 131'080, kRows = 130;
    on_ranks(2, [&](Communicator& communicator) {
        TensorGroup group(communicator);
        Stream stream(test_gpu(), 1);
        if (is_shim(stream)) return;  // which takes a minute
        Tape tape(stream);
        const std::int64_t ids = group.rank() == 0 ? kFirst : kSecond;
        const Var hidden = tape.input(filled(stream, {kRows, 1}, 1.0f)),
                  weight = tape.input(filled(stream, {ids, 1}, 0.0f));
        const Tensor targets = Tensor::from<std::int32_t>(
            stream, {kRows}, random_ids(kRows, static_cast<std::int32_t>(kFirst + kSecond), 1));
        LossOptions options{.length = kRows};
        options.group = &group;
        options.first_id = group.rank() * kFirst;
        options.vocabulary = kFirst + kSecond;
        const LossSums sums = linear_cross_entropy(hidden, weight, targets, options);
        // all ids are as probable
        const double wanted = kRows * std::log(static_cast<double>(kFirst + kSecond));
        EXPECT_NEAR(values_of<double>(stream, sums.loss)[0], wanted, 1e-9 * wanted);
    });
}

TEST(LinearCrossEntropy, RefusesTargetsThatAreNotSamplesOfTheLength) {
    Stream stream(test_gpu(), 1);
    Tape tape(stream, Tape::Mode::kInference);
    const Var hidden = tape.constant(Tensor::zeros(stream, DType::f32, {6, 2}));
    const Var weight = tape.constant(Tensor::zeros(stream, DType::f32, {4, 2}));
    EXPECT_THROW(linear_cross_entropy(hidden, weight, Tensor::zeros(stream, DType::i32, {5}), {.length = 1}),
                 ShapeError);
    EXPECT_THROW(linear_cross_entropy(hidden, weight, Tensor::zeros(stream, DType::i32, {6}), {.length = 4}),
                 ShapeError);
}

}  // namespace
}  // namespace skein::test
