#include "model/autograd/ops/recompute.h"

#include <map>
#include <memory>

#include "model/autograd/ops/linear.h"
#include "model/base/error.h"
#include "tests/model/autograd/plus.h"
#include "tests/support/random_values.h"
#include "tests/support/test_device.h"

namespace skein::test {
namespace {

using Floats = std::vector<float>;
using Vars = std::vector<Var>;

constexpr std::int64_t kRows = 5, kWidth = 8;

Leaf make_leaf(Stream& stream, const Shape& shape, std::uint32_t seed) {
    Leaf leaf;
    leaf.value = Tensor::from<float>(stream, shape, random_floats(shape.elements(), seed, 0.5f));
    leaf.gradient = filled(stream, shape, 1e30f);  // stale
    return leaf;
}

Tensor some_rows(Stream& stream, std::uint32_t seed, std::int64_t rows = kRows) {
    return Tensor::from<float>(stream, {rows, kWidth}, random_floats(rows * kWidth, seed));
}

/// function(inputs) as it is, or to be computed again in backward.
using Runner = std::function<Vars(Tape&, const Vars&, TapeFunction)>;
const Runner kPlain = [](Tape& tape, const Vars& inputs, const TapeFunction& function) {
    return function(tape, inputs);
};
const Runner kRecompute = [](Tape& tape, const Vars& inputs, TapeFunction function) {
    return recompute(tape, inputs, std::move(function));
};

/// What a pass leaves behind.
struct Outcome {
    Floats result;
    std::map<int, Floats> gradients;  ///< by leaf; none where nothing reached it
    std::map<int, int> finals;        ///< by leaf: how many times it was said to be final
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Eight weights on a tape, and what a pass over them gives: build(tape, weights, run) makes the root.
Outcome pass(const std::function<Var(Tape&, std::vector<Leaf>&, const Runner&)>& build, const Runner& run) {
    Stream stream(test_gpu(), 1);
    std::vector<Leaf> leaves;
    for (std::uint32_t i = 0; i < 8; ++i) leaves.push_back(make_leaf(stream, {kWidth, kWidth}, 100 + i));
    Outcome out;
    std::map<int, Floats> when_final;
    {
        Tape tape(stream);
        tape.on_leaf_final = [&](Leaf& leaf) {
            const int i = static_cast<int>(&leaf - leaves.data());
            ++out.finals[i];
            if (leaf.accumulate) when_final[i] = floats_of(stream, leaf.gradient);
        };
        const Var root = build(tape, leaves, run);
        out.result = floats_of(stream, root.value());
        tape.backward(root, some_rows(stream, 9));
    }
    for (int i = 0; i < 8; ++i) {
        EXPECT_EQ(at(leaves, i).pending_uses, 0) << "leaf " << i;
        if (at(leaves, i).accumulate) out.gradients[i] = floats_of(stream, at(leaves, i).gradient);
    }
    EXPECT_EQ(when_final, out.gradients) << "a leaf was written to after it was final";
    return out;
}

void expect_the_same(const std::function<Var(Tape&, std::vector<Leaf>&, const Runner&)>& build) {
    const Outcome kept = pass(build, kPlain), again = pass(build, kRecompute);
    EXPECT_EQ(again, kept);
    for (const auto& [leaf, times] : again.finals) EXPECT_EQ(times, 1) << "leaf " << leaf;
}

Var some_input(Tape& tape) {
    return tape.constant(some_rows(tape.stream(), 1));
}

TEST(Recompute, HasTheBitsOfWhatIsKept) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        Var x = linear(some_input(tape), tape.leaf(w[0]));
        for (const std::size_t i : {1, 3})
            x = run(tape, {x}, [&w, i](Tape& t, const Vars& in) {
                const Var inner = linear(in[0], t.leaf(w[i]));
                return Vars{plus(linear(inner, t.leaf(w[i + 1])), inner)};
            })[0];
        return linear(x, tape.leaf(w[7]));
    });
}

TEST(Recompute, MayLieInAnother) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        const Var x = linear(some_input(tape), tape.leaf(w[0]));
        return run(tape, {x}, [&w, run](Tape& t, const Vars& in) {
            const Var inner = run(t, {linear(in[0], t.leaf(w[1]))}, [&w](Tape& u, const Vars& deep) {
                return Vars{linear(deep[0], u.leaf(w[2])), linear(deep[0], u.leaf(w[1]))};
            })[1];
            return Vars{linear(inner, t.leaf(w[3]))};
        })[0];
    });
}

TEST(Recompute, ALeafInsideAndOutsideIsFinalOnceAfterItsLastUse) {
    for (const int before : {0, 1})
        for (const int after : {0, 1})
            expect_the_same([=](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
                Var x = linear(some_input(tape), tape.leaf(w[0]));
                if (before) x = linear(x, tape.leaf(w[1]));
                x = run(tape, {x}, [&w](Tape& t, const Vars& in) {
                    const Var once = linear(in[0], t.leaf(w[1]));
                    return Vars{linear(once, t.leaf(w[1]))};
                })[0];
                return after ? linear(x, tape.leaf(w[1])) : x;
            });
}

TEST(Recompute, TakesAndGivesSeveral) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        const Var x = linear(some_input(tape), tape.leaf(w[0])), y = linear(x, tape.leaf(w[1]));
        const Vars out = run(tape, {x, y, x}, [&w](Tape& t, const Vars& in) {
            const Var first = linear(in[0], t.leaf(w[2])), second = linear(in[1], t.leaf(w[3]));
            return Vars{linear(first, t.leaf(w[4])), second, linear(in[2], t.leaf(w[4]))};
        });
        return plus(plus(linear(out[0], tape.leaf(w[5])), out[1]), plus(out[2], y));
    });
}

TEST(Recompute, MayGiveAnInputBack) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        const Var x = linear(some_input(tape), tape.leaf(w[0]));
        const Vars out = run(tape, {x}, [&w](Tape& t, const Vars& in) {
            return Vars{in[0], linear(in[0], t.leaf(w[1]))};
        });
        return plus(linear(out[1], tape.leaf(w[2])), out[0]);
    });
}

TEST(Recompute, AnOutputThatNothingUsesSendsNothingAndItsLeavesAreFinal) {
    for (const std::size_t used : {std::size_t{0}, std::size_t{1}})
        expect_the_same([=](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
            const Var x = linear(some_input(tape), tape.leaf(w[0]));
            const Vars out = run(tape, {x}, [&w](Tape& t, const Vars& in) {
                const Var shared = linear(in[0], t.leaf(w[1]));
                return Vars{linear(shared, t.leaf(w[2])), linear(shared, t.leaf(w[3]))};
            });
            // w[2] and w[3] outside as well: their last uses are inside, where one of them gets no gradient
            return linear(linear(out[used], tape.leaf(w[2])), tape.leaf(w[3]));
        });
}

TEST(Recompute, WhereNoOutputIsUsedLeavesAreFinalAllTheSame) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        const Var x = linear(some_input(tape), tape.leaf(w[0]));
        run(tape, {x}, [&w](Tape& t, const Vars& in) { return Vars{linear(in[0], t.leaf(w[1]))}; });
        return linear(linear(x, tape.leaf(w[1])), tape.leaf(w[2]));
    });
}

TEST(Recompute, PassesOverInputsThatNeedNoGradient) {
    expect_the_same([](Tape& tape, std::vector<Leaf>& w, const Runner& run) {
        const Var fixed = some_input(tape), x = linear(fixed, tape.leaf(w[0]));
        const Vars out = run(tape, {fixed, x, tape.leaf(w[1])}, [&w](Tape& t, const Vars& in) {
            return Vars{linear(linear(in[0], in[2]), t.leaf(w[2])), linear(in[1], in[2])};
        });
        return plus(out[0], out[1]);
    });
}

TEST(Recompute, KeepsItsInputsAndOutputsOnly) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {kWidth, kWidth}, 1);
    Tape tape(stream);
    const std::int64_t rows = 512;
    const Var x = linear(tape.constant(some_rows(stream, 1, rows)), tape.leaf(weight));
    const std::size_t before = stream.pool().statistics().in_use, activation = rows * kWidth * sizeof(float);
    const Vars out = recompute(tape, {x}, [&](Tape& t, const Vars& in) {
        Var y = in[0];
        for (int i = 0; i < 5; ++i) y = linear(y, t.leaf(weight));
        return Vars{y};
    });
    EXPECT_EQ(weight.pending_uses, 6);
    EXPECT_LT(stream.pool().statistics().in_use - before, 2 * activation);
}

TEST(Recompute, DroppedWithoutBackwardForgetsItsUses) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {kWidth, kWidth}, 1);
    const auto held = std::make_shared<int>(0);
    {
        Tape tape(stream);
        const Var x = linear(tape.constant(some_rows(stream, 1)), tape.leaf(weight));
        recompute(tape, {x},
                  [&weight, held](Tape& t, const Vars& in) { return Vars{linear(in[0], t.leaf(weight))}; });
        EXPECT_EQ(weight.pending_uses, 2);
        EXPECT_GT(held.use_count(), 1);
    }
    EXPECT_EQ(weight.pending_uses, 0);
    EXPECT_EQ(held.use_count(), 1);
}

TEST(Recompute, RunsTheFunctionOnceOnATapeWithoutBackward) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {kWidth, kWidth}, 1);
    for (const Tape::Mode mode : {Tape::Mode::kInference, Tape::Mode::kCountUses}) {
        int runs = 0;
        const auto held = std::make_shared<int>(0);
        Tape tape(stream, mode);
        const Var x = tape.constant(some_rows(stream, 1));
        const Vars out = recompute(tape, {x}, [&, held](Tape& t, const Vars& in) {
            ++runs;
            EXPECT_EQ(&t, &tape);
            return Vars{linear(in[0], t.leaf(weight))};
        });
        EXPECT_EQ(runs, 1);
        EXPECT_EQ(held.use_count(), 1);
        EXPECT_EQ(weight.pending_uses, mode == Tape::Mode::kCountUses ? 1 : 0);
        EXPECT_EQ(floats_of(stream, out[0].value()), floats_of(stream, linear(x, tape.leaf(weight)).value()));
    }
}

TEST(Recompute, RefusesNoInputsFourInputsAndInputsWithoutGradient) {
    Stream stream(test_gpu(), 1);
    Leaf weight = make_leaf(stream, {kWidth, kWidth}, 1);
    {
        Tape tape(stream);
        const Var fixed = tape.constant(some_rows(stream, 1)), x = tape.input(some_rows(stream, 1));
        const TapeFunction function = [&](Tape& t, const Vars&) { return Vars{t.leaf(weight)}; };
        EXPECT_THROW(recompute(tape, {}, function), ShapeError);
        EXPECT_THROW(recompute(tape, {x, x, x, x}, function), ShapeError);
        EXPECT_THROW(recompute(tape, {fixed, fixed},
                               [&](Tape& t, const Vars& in) { return Vars{linear(in[0], t.leaf(weight))}; }),
                     ShapeError);
        EXPECT_EQ(weight.pending_uses, 0);
    }
}

}  // namespace
}  // namespace skein::test
