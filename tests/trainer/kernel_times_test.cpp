#include "trainer/kernel_times.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/test_device.h"
#include "tests/trainer/small_training.h"
#include "trainer/bench.h"
#include "trainer/ceilings.h"
#include "trainer/utilisation.h"

namespace skein {
namespace {

MeteredStep step_of(double seconds, const std::vector<WorkMeter::Entry>& kernels) {
    return {seconds, kernels};
}

TEST(KernelTimes, AreMediansOfAStepsSums) {
    const Work a{"a", 10.0, 0.0}, b{"b", 0.0, 100.0};
    // a: 3, 5 and 4 seconds; b: 1, 1 and 7; outside: 2, 1 and 0
    const std::vector<MeteredStep> steps = {step_of(6, {{a, 1}, {b, 1}, {a, 2}}),
                                            step_of(7, {{a, 4}, {b, 1}, {a, 1}}),
                                            step_of(11, {{a, 2}, {b, 7}, {a, 2}})};
    const KernelTimes times = kernel_times(steps, {.copy = 10.0, .product = 200.0});
    EXPECT_EQ(times.step, 7);
    EXPECT_EQ(times.inside, 6) << "of 4, 6 and 11";
    EXPECT_EQ(times.outside, 1);
    ASSERT_EQ(times.families.size(), 2u);
    EXPECT_EQ(times.families[0].name, "a");
    EXPECT_EQ(times.families[0].calls, 2);
    EXPECT_EQ(times.families[0].seconds, 4);
    EXPECT_EQ(times.families[0].bytes, 20);
    EXPECT_EQ(times.families[1].seconds, 1);
}

TEST(KernelTimes, AreOrderedByWhatCanBeGained) {
    // the longest moves and computes as much as can be in its time; its floor is the larger of two
    const std::vector<MeteredStep> steps = {
        step_of(10, {{{"copies", 60.0, 0.0}, 6}, {{"waits", 10.0, 0.0}, 3}, {{"multiplies", 1.0, 90.0}, 1}})};
    const Ceilings ceilings{.copy = 10.0, .product = 100.0};
    const KernelTimes times = kernel_times(steps, ceilings);
    ASSERT_EQ(times.families.size(), 3u);
    EXPECT_EQ(times.families[0].name, "waits");
    EXPECT_EQ(times.families[1].name, "multiplies");
    EXPECT_EQ(times.families[2].name, "copies");
    EXPECT_DOUBLE_EQ(times.families[1].floor(ceilings), 0.9);
    EXPECT_DOUBLE_EQ(times.families[2].floor(ceilings), 6.0);
}

/// Loss, norm and, last, the parameters after some steps.
std::vector<double> trained(bool metered, const std::string& precision) {
    const RunConfig config = small_config({{"train.precision", precision}});
    SoloCommunicator alone;
    Stream stream(test::test_gpu(), 1);
    const auto objective = make_objective(stream, config.model, 5);
    TrainingStep step(config, *objective, stream, alone);
    const Training batches(config);
    WorkMeter meter;
    if (metered) stream.set_meter(&meter);
    std::vector<double> all;
    for (std::int64_t number = 0; number < 3; ++number) {
        const StepOutcome outcome = step.run(batches.batch(number), number, 0);
        all.insert(all.end(), {outcome.loss, outcome.gradient_norm});
        EXPECT_EQ(meter.take(stream).empty(), !metered);
    }
    const ParameterList& parameters = objective->model().parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
        for (const float value : test::floats_of(stream, parameters[i].leaf.value)) all.push_back(value);
    return all;
}

TEST(KernelTimes, AMeteredStepHasTheBitsOfAPlainOne) {
    for (const char* precision : {"fp32", "bf16"})
        EXPECT_EQ(trained(true, precision), trained(false, precision));
}

std::vector<MeteredStep> metered_steps(const BenchShape& shape, int steps) {
    SoloCommunicator world;
    BenchOptions options;
    options.steps = steps;
    options.warmup = 1;
    options.gpu = test::test_gpu();
    options.variants = {{}};
    options.by_kernel = true;
    return run_bench(shape, options, {world, world, world}).front().metered;
}

TEST(KernelTimes, OfAStepHoldAllItsProductsOnce) {
    BenchShape shape;
    shape.model.layers = 2;
    shape.model.heads = 2;
    shape.model.width = 16;
    shape.model.context = 8;
    shape.model.vocabulary = 20;
    shape.batch = 3;
    const std::vector<MeteredStep> steps = metered_steps(shape, 2);
    ASSERT_EQ(steps.size(), 2u);
    const KernelTimes times = kernel_times(steps, {1e9, 1e9});
    std::map<std::string_view, FamilyTime> families;
    double products = 0.0, attention = 0.0;
    for (const FamilyTime& family : times.families) {
        families[family.name] = family;
        EXPECT_GE(family.seconds, 0.0);
        if (family.name.starts_with("gemm") || family.name.starts_with("head")) products += family.flops;
        if (family.name.starts_with("attention")) attention += family.flops;
    }
    // the formula of utilisation.h counts the same products; 12 · width · keys a token and layer for
    // attention
    const double tokens = 3 * 8, of_attention = 12.0 * 2 * 16 * 8;
    EXPECT_DOUBLE_EQ(products, tokens * (model_flops_per_token(shape.model, 8) - of_attention));
    // which is 6 products of all pairs; here 7 of the 36 in 64 that see each other
    EXPECT_DOUBLE_EQ(attention, tokens * of_attention / 6 * 7 * 36 / 64);
    for (const char* once : {"cross-entropy", "Adam", "gradient norm", "end of step", "head forward",
                             "head dgrad", "head wgrad", "embedding forward", "embedding backward"})
        EXPECT_EQ(families[once].calls, 1) << once;
    for (const char* a_layer : {"attention forward", "attention backward", "gemm forward, activation"})
        EXPECT_EQ(families[a_layer].calls, 2) << a_layer;
    EXPECT_EQ(families["norm forward"].calls, 5);
    EXPECT_EQ(families["gemm wgrad"].calls, 2 * 4);
    for (const MeteredStep& step : steps) {
        double inside = 0.0;
        for (const WorkMeter::Entry& entry : step.kernels) inside += entry.seconds;
        EXPECT_GT(inside, 0.0);
        EXPECT_LE(inside, step.seconds + 1e-6) << "one kernel after the other, within the step";
    }
}

TEST(KernelTimes, CeilingsAreMeasured) {
    SoloCommunicator world;
    EXPECT_GT(copy_rate(test::test_gpu(), 2, world), 0.0);
    if (!test::test_gpu()) return;
    for (const Precision precision : {Precision::kFp32, Precision::kBf16})
        EXPECT_GT(product_rate(*test::test_gpu(), precision, world), 0.0);
}

}  // namespace
}  // namespace skein
