#include "tests/model/kernels/adam_list.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels {
namespace {

using namespace test;

template <class T>
class CudaUpdate : public ::testing::Test {};
TYPED_TEST_SUITE(CudaUpdate, ElementTypes);

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

template <class T>
struct Outcome {
    State state;
    std::vector<std::vector<T>> copies;
    std::vector<double> sums;
    std::vector<StepEnd> ends{1};
    std::vector<UpdateState> states{1};
    const StepEnd& end() const { return ends[0]; }
    const UpdateState& after() const { return states[0]; }
    friend bool operator==(const Outcome& a, const Outcome& b) {
        return a.state == b.state && a.copies == b.copies && a.sums == b.sums && a.states == b.states &&
               a.end().gradient_scale == b.end().gradient_scale && a.end().skipped == b.end().skipped;
    }
};

/// The end of a step, on either device.
template <class T, class S>
Outcome<T> step(S& stream, State state, const std::vector<double>& losses, double clip) {
    Outcome<T> out;
    out.state = std::move(state);
    std::vector<AdamTensor> all;
    for (std::size_t i = 0; i < kCounts.size(); ++i) out.copies.emplace_back(out.state.parameters[i].size());
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        const std::ptrdiff_t skip = i == kMisaligned ? 1 : 0;
        AdamTensor tensor{.count = kCounts[i]};
        tensor.parameter = out.state.parameters[i].data() + skip;
        tensor.gradient = out.state.gradients[i].data() + skip;
        tensor.moment1 = out.state.moments1[i].data() + skip;
        tensor.moment2 = out.state.moments2[i].data() + skip;
        if (i != 0 && DTypeOf<T>::value != DType::f32) tensor.copy = out.copies[i].data() + skip;
        tensor.coupled_decay = i == 3 ? 0.1f : 0.0f;
        tensor.decoupled_decay = i == 2 ? 0.1f : 0.0f;
        all.push_back(tensor);
    }
    const AdamTensors tensors(all, DTypeOf<T>::value);
    out.sums.resize(tensors.blocks.size());
    gradient_square_sums(stream, tensors.list, out.sums.data());
    out.states[0].loss_scale.scale = 4.0;
    EndStepArgs args;
    args.clip = clip;
    args.scales_loss = true;
    args.losses = losses.data();
    args.samples = count(losses);
    args.square_sums = out.sums.data();
    args.blocks = count(out.sums);
    args.rate[0] = 1e-3f;
    args.correction1[0] = 0.271f;
    args.correction2[0] = 0.003f;
    args.state = out.states.data();
    args.end = out.ends.data();
    end_step(stream, args);
    adam(stream, {tensors.list, out.ends.data()});
    return out;
}

TYPED_TEST(CudaUpdate, EveryTensorOfTheListGetsTheCpusBits) {
    // more losses than threads that read them
    std::vector<double> losses(1003);
    for (std::size_t i = 0; i < losses.size(); ++i) losses[i] = 1.0 / static_cast<double>(3 * i + 1);
    const auto found = in_every_order([&] {
        ShimStream stream;
        return step<TypeParam>(stream, first_state(), losses, 1.5);
    });
    CpuStream cpu;
    const auto wanted = step<TypeParam>(cpu, first_state(), losses, 1.5);
    EXPECT_EQ(found.end().loss, wanted.end().loss) << "added in order";
    // fp64 sums of a block's squares in two orders, and one rounding to fp32 behind them
    EXPECT_NEAR(found.end().norm, wanted.end().norm, 1e-12 * wanted.end().norm);
    ASSERT_EQ(found.end().gradient_scale, wanted.end().gradient_scale);
    EXPECT_LT(found.end().gradient_scale, 0.1f);
    EXPECT_EQ(found.end().skipped, 0);
    EXPECT_EQ(found.after(), wanted.after());
    EXPECT_TRUE(found.state == wanted.state);
    EXPECT_EQ(found.copies, wanted.copies);
    EXPECT_EQ(found.copies[0], std::vector<TypeParam>(1)) << "it has none";
}

TYPED_TEST(CudaUpdate, AnythingThatIsNotFiniteSkipsTheStep) {
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
        ShimStream stream;
        EXPECT_EQ(step<TypeParam>(stream, first_state(), {static_cast<double>(bad)}, 1.0).end().skipped, 1);
        State state = first_state();
        state.gradients[2][kNormBlock + 3] = bad;
        const auto found = step<TypeParam>(stream, state, {2.0}, 1.0);
        EXPECT_EQ(found.end().skipped, 1);
        EXPECT_EQ(found.after().loss_scale.scale, 2.0);
        EXPECT_EQ(found.state.parameters, state.parameters);
        EXPECT_EQ(found.state.moments1, state.moments1);
        EXPECT_EQ(found.state.moments2, state.moments2);
    }
}

/// A rank updates and sends from where the gradient was; another takes what it got.
template <class T, class S>
void check_sent_and_taken(S& stream, bool skipped) {
    State sender = first_state(), taker = first_state();
    const State before = first_state();
    std::vector<std::vector<T>> copies, taken_copies;
    std::vector<AdamTensor> all, taken;
    for (const Floats& values : sender.parameters) copies.emplace_back(values.size());
    taken_copies = copies;
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        const std::ptrdiff_t skip = i == kMisaligned ? 1 : 0;
        AdamTensor tensor{.count = kCounts[i]};
        tensor.parameter = sender.parameters[i].data() + skip;
        tensor.gradient = tensor.sent = sender.gradients[i].data() + skip;
        tensor.moment1 = sender.moments1[i].data() + skip;
        tensor.moment2 = sender.moments2[i].data() + skip;
        tensor.copy = i != 0 && DTypeOf<T>::value != DType::f32 ? copies[i].data() + skip : nullptr;
        all.push_back(tensor);
        if (tensor.copy) tensor.copy = taken_copies[i].data() + skip;
        tensor.parameter = i == 3 ? nullptr : taker.parameters[i].data() + skip;
        taken.push_back(tensor);
    }
    const AdamTensors updated(all, DTypeOf<T>::value), others(taken, DTypeOf<T>::value);
    std::vector<StepEnd> end(1);
    end[0].rate = 1e-3f;
    end[0].correction1 = 0.271f;
    end[0].correction2 = 0.003f;
    end[0].skipped = skipped ? 1 : 0;
    adam(stream, {updated.list, end.data()});
    take_parameters(stream, {others.list, end.data()});
    if (skipped) {
        EXPECT_TRUE(sender == before);
        EXPECT_TRUE(taker == before);
        return;
    }
    EXPECT_EQ(taken_copies, copies);
    for (std::size_t i = 0; i < kCounts.size(); ++i) {
        EXPECT_EQ(
            std::equal(sender.gradients[i].begin() + (i == kMisaligned ? 1 : 0), sender.gradients[i].end(),
                       sender.parameters[i].begin() + (i == kMisaligned ? 1 : 0)),
            true)
            << "the values went out " << i;
        EXPECT_EQ(taker.parameters[i], i == 3 ? before.parameters[i] : sender.parameters[i]) << i;
    }
}

TYPED_TEST(CudaUpdate, ARankTakesWhatAnotherUpdated) {
    for (const bool skipped : {false, true}) {
        ShimStream stream;
        check_sent_and_taken<TypeParam>(stream, skipped);
        CpuStream cpu{3, nullptr};
        check_sent_and_taken<TypeParam>(cpu, skipped);
    }
}

}  // namespace
}  // namespace skein::kernels
