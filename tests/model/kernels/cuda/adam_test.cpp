#include "model/kernels/cuda/adam.h"

#include "model/kernels/adam.h"
#include "model/kernels/elementwise.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaAdam : public ::testing::Test {};
TYPED_TEST_SUITE(CudaAdam, ElementTypes);

/// Tensors of uneven sizes, one of them off a multiple of 16 bytes, one of two blocks.
const std::vector<std::int64_t> kCounts{1, 40, kNormBlock + 77, 1000};
constexpr std::size_t kMisaligned = 1;

struct State {
    std::vector<Floats> parameters, gradients, moments1, moments2;
    friend bool operator==(const State&, const State&) = default;
};

State first_state() {
    State state;
    std::uint32_t seed = 1;
    for (std::int64_t count : kCounts) {
        if (state.parameters.size() == kMisaligned) ++count;  // element 0 is left alone
        state.parameters.push_back(random_floats(count, seed++));
        state.gradients.push_back(random_floats(count, seed++));
        state.moments1.push_back(random_floats(count, seed++, 0.1f));
        state.moments2.push_back(random_floats(count, seed++, 0.1f));
        for (float& v : state.moments2.back()) v *= v;
    }
    return state;
}

constexpr float kDecay = 0.1f;
float coupled(std::size_t i) {
    return i == 3 ? kDecay : 0.0f;
}
float decoupled(std::size_t i) {
    return i == 2 ? kDecay : 0.0f;
}

template <class T>
struct Outcome {
    State state;
    std::vector<std::vector<T>> working;
    std::vector<double> sums;
    StepDecision decision;
    friend bool operator==(const Outcome& a, const Outcome& b) {
        return a.state == b.state && a.working == b.working && a.sums == b.sums &&
               a.decision.gradient_scale == b.decision.gradient_scale &&
               a.decision.skipped == b.decision.skipped;
    }
};

template <class T>
Outcome<T> step(State state, double loss, double clip) {
    CudaStream stream;
    Outcome<T> out{std::move(state), {}, {}, {}};
    std::vector<AdamTensor<T>> tensors;
    for (std::size_t i = 0; i < kCounts.size(); ++i) out.working.emplace_back(out.state.parameters[i].size());
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        const std::ptrdiff_t skip = i == kMisaligned ? 1 : 0;
        AdamTensor<T> tensor{.count = kCounts[i]};
        tensor.parameter = out.state.parameters[i].data() + skip;
        tensor.gradient = out.state.gradients[i].data() + skip;
        tensor.moment1 = out.state.moments1[i].data() + skip;
        tensor.moment2 = out.state.moments2[i].data() + skip;
        if (i != 0) tensor.working = out.working[i].data() + skip;
        tensor.coupled_decay = coupled(i);
        tensor.decoupled_decay = decoupled(i);
        tensors.push_back(tensor);
    }
    const std::vector<TensorBlock> blocks = blocks_of_tensors(kCounts);
    out.sums.resize(blocks.size());
    gradient_square_sums(stream, tensors.data(), blocks.data(), count(blocks), out.sums.data());
    const std::vector<double> losses{loss};
    std::vector<StepDecision> decision(1);
    decide_step(stream, out.sums.data(), count(out.sums), losses.data(), clip, decision.data());
    AdamArgs<T> args{.tensors = tensors.data(), .blocks = blocks.data(), .block_count = count(blocks)};
    args.decision = decision.data();
    args.rate = 1e-3f;
    args.correction1 = 0.271f;
    args.correction2 = 0.003f;
    adam(stream, args);
    out.decision = decision[0];
    return out;
}

State cpu_step(State state, float gradient_scale) {
    CpuStream stream;
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        const std::ptrdiff_t skip = i == kMisaligned ? 1 : 0;
        kernels::AdamArgs args{.count = kCounts[i]};
        args.parameter = state.parameters[i].data() + skip;
        args.gradient = state.gradients[i].data() + skip;
        args.moment1 = state.moments1[i].data() + skip;
        args.moment2 = state.moments2[i].data() + skip;
        args.rate = 1e-3f;
        args.correction1 = 0.271f;
        args.correction2 = 0.003f;
        args.coupled_decay = coupled(i);
        args.decoupled_decay = decoupled(i);
        args.gradient_scale = gradient_scale;
        kernels::adam(stream, args);
    }
    return state;
}

TYPED_TEST(CudaAdam, UpdatesEveryTensorOfTheListWithTheCpusBits) {
    const auto found = in_every_order([] { return step<TypeParam>(first_state(), 2.0, 1.5); });
    EXPECT_EQ(found.decision.skipped, 0);
    EXPECT_LT(found.decision.gradient_scale, 0.1f);
    EXPECT_TRUE(found.state == cpu_step(first_state(), found.decision.gradient_scale));
    for (std::size_t i = 1; i < kCounts.size(); ++i) {
        std::vector<TypeParam> wanted = rounded<TypeParam>(found.state.parameters[i]);
        if (i == kMisaligned) wanted[0] = TypeParam{};
        EXPECT_EQ(found.working[i], wanted);
    }
    EXPECT_EQ(found.working[0], std::vector<TypeParam>(1));
}

TEST(CudaDecision, NormAndClipAreTheCpus) {
    const State state = first_state();
    const auto found = step<float>(first_state(), 2.0, 1.5);
    CpuStream stream;
    double total = 0.0;
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        std::vector<double> sums(2);
        kernels::block_square_sums(stream, state.gradients[i].data() + (i == kMisaligned ? 1 : 0), kCounts[i],
                                   sums.data());
        total += sums[0] + sums[1];
    }
    // fp64 sums in two orders
    EXPECT_NEAR(found.decision.norm, std::sqrt(total), 1e-12 * std::sqrt(total));
    EXPECT_EQ(found.decision.gradient_scale, static_cast<float>(1.5 / found.decision.norm));
    // within the clip, and with none
    EXPECT_EQ(step<float>(first_state(), 2.0, 1e6).decision.gradient_scale, 1.0f);
    EXPECT_EQ(step<float>(first_state(), 2.0, 0.0).decision.gradient_scale, 1.0f);
}

TEST(CudaDecision, AddsTheSumsInTheirOrder) {
    std::vector<double> sums(1003);
    double total = 0.0;
    for (std::size_t i = 0; i < sums.size(); ++i) total += sums[i] = 1.0 / static_cast<double>(3 * i + 1);
    const StepDecision found = in_every_order([&] {
        struct Comparable : StepDecision {
            bool operator==(const Comparable& other) const { return norm == other.norm; }
        };
        std::vector<Comparable> decision(1);
        CudaStream stream;
        decide_step(stream, sums.data(), count(sums), nullptr, 0.0, decision.data());
        return decision[0];
    });
    EXPECT_EQ(found.norm, std::sqrt(total));
    EXPECT_EQ(found.skipped, 0);
}

TEST(CudaDecision, AnythingThatIsNotFiniteSkipsTheStep) {
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
        EXPECT_EQ(step<float>(first_state(), static_cast<double>(bad), 1.0).decision.skipped, 1);
        State state = first_state();
        state.gradients[2][kNormBlock + 3] = bad;
        const auto found = step<float>(state, 2.0, 1.0);
        EXPECT_EQ(found.decision.skipped, 1);
        EXPECT_EQ(found.state.parameters, state.parameters);
        EXPECT_EQ(found.state.moments1, state.moments1);
        EXPECT_EQ(found.state.moments2, state.moments2);
    }
}

}  // namespace
}  // namespace skein::kernels::cuda
