#include "trainer/parameter_update.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "model/base/philox.h"
#include "tests/parallel/gradient_route.h"

namespace skein {
namespace {

constexpr int kLanes = 4;

/// A lane's gradient, over some orders of magnitude, so that the order of sums shows.
std::vector<float> gradient_of(int step, int lane, std::size_t parameter, std::size_t count) {
    constexpr std::size_t kTable = 20'011;
    static const std::vector<float> table = [] {
        std::vector<float> values(kTable);
        for (std::size_t i = 0; i < kTable; ++i) {
            const PhiloxBlock block = philox_at(i, philox_key(1, RandomPurpose::kBench, 0, 0));
            values[i] =
                static_cast<float>((uniform(block[0]) - 0.5) / static_cast<double>(1u << block[1] % 12));
        }
        return values;
    }();
    std::size_t at = static_cast<std::size_t>(step * 7001 + lane * 4001) + parameter * 601;
    std::vector<float> values(count);
    for (float& value : values) value = table[at++ % kTable];
    return values;
}

/// Parameters with what a step needs to update them, on one rank or as one of several.
class Updated {
  public:
    Updated(Stream& stream, Communicator& data, Communicator* gradients, DType dtype, bool sharded)
        : stream_(stream) {
        // blocks that are whole and not, a vector of two, tiny ones, and one that is empty
        std::vector<Shape> shapes{{257, 256}, {70'000}, {3}, {1, 1}, {0}, {9, 4}};
        if (stream.device() == Device::cpu)  // without a GPU, the GPU is a slow one
            shapes.insert(shapes.end(), {{300, 7, 100}, {2, 65'536}});
        for (const Shape& shape : shapes)
            parameters.add(stream, 7, text("p", parameters.size()), shape, InitialValues::normal(1.0));
        GradientSyncOptions options;
        options.lanes = kLanes;
        options.bucket_bytes = 1 << 16;
        options.sharded = sharded;
        sync.emplace(gradients ? *gradients : data, parameters, stream, options);
        parameters.keep_copies(stream, dtype);
        OptimizerSection section;
        section.weight_decay = 0.1;
        update.emplace(section, parameters, stream, *sync, data, gradients);
        state_ = Tensor::zeros(stream, DType::i64, {sizeof(kernels::UpdateState) / 8});
        const kernels::UpdateState first;
        assign_bytes(stream, state_, std::as_bytes(std::span(&first, 1)));
    }

    /// Step number `step`, from 1; `bad` is put into one element of lane 2.
    Pending run(int step, float bad = 0.0f) {
        update->take_values();
        sync->begin_step();
        for (int lane = sync->own_lanes().begin; lane < sync->own_lanes().end; ++lane) {
            sync->begin_lane(lane);
            for (std::size_t p = parameters.size(); p-- > 0;) {
                Leaf& leaf = parameters[p].leaf;
                std::vector<float> values =
                    gradient_of(step, lane, p, static_cast<std::size_t>(leaf.gradient.elements()));
                if (bad != 0.0f && lane == 2 && p == 0) values[65'700] = bad;
                assign_bytes(stream_, leaf.gradient, std::as_bytes(std::span(values)));
                leaf.accumulate = true;
                sync->ready(leaf);
                sync->poll();
            }
        }
        sync->backward_ended();
        sync->finish();
        const Tensor losses = Tensor::zeros(stream_, DType::f64, {1}), squares = update->square_sums();
        const Tensor end = Tensor::zeros(stream_, DType::i64, {sizeof(kernels::StepEnd) / 8});
        kernels::EndStepArgs args;
        args.losses = losses.data<double>();
        args.samples = 1;
        args.square_sums = squares.data<double>();
        args.blocks = squares.elements();
        args.clip = 1.0;
        args.first_update = 1;
        for (int i = 0; i < kernels::kUpdatesAhead; ++i) {
            args.rate[i] = 0.01f;
            args.correction1[i] = update->optimizer().correction1(step);
            args.correction2[i] = update->optimizer().correction2(step);
        }
        args.state = reinterpret_cast<kernels::UpdateState*>(state_.raw());
        args.end = reinterpret_cast<kernels::StepEnd*>(end.raw());
        stream_.run([&](auto& s) { kernels::end_step(s, args); });
        Pending over = update->step(args.end);
        const Tensor here = on_host(stream_, end);
        std::memcpy(&last, here.raw(), sizeof last);
        sums = floats(squares);
        return over;
    }

    std::vector<std::byte> floats(const Tensor& tensor) {
        const Tensor here = on_host(stream_, tensor);
        return {here.raw_span().begin(), here.raw_span().end()};
    }

    Stream& stream_;
    ParameterList parameters;
    std::optional<GradientSync> sync;
    std::optional<ParameterUpdate> update;
    Tensor state_;
    kernels::StepEnd last;
    std::vector<std::byte> sums;
};

class ParameterUpdateTest : public testing::TestWithParam<GradientRoute> {
  protected:
    /// What is sharded has the bits of what is not, on this rank alone.
    void expect_same(Updated& alone, Updated& sharded) {
        EXPECT_EQ(sharded.last.norm, alone.last.norm);
        EXPECT_EQ(sharded.last.skipped, alone.last.skipped);
        EXPECT_EQ(sharded.sums, alone.sums) << "block by block";
        const auto forward = [](Updated& one, std::size_t i) {
            return one.floats(one.parameters[i].leaf.forward_value());
        };
        for (std::size_t i = 0; i < alone.parameters.size(); ++i)
            EXPECT_TRUE(forward(sharded, i) == forward(alone, i)) << "parameter " << i;
        const Optimizer &all = alone.update->optimizer(), &own = sharded.update->optimizer();
        for (std::size_t run = 0; run < own.runs().size(); ++run) {
            const auto [parameter, begin, count] = own.runs()[run];
            const auto same = [&](const Tensor& mine, const Tensor& whole) {
                return sharded.floats(mine) == alone.floats(whole.view(begin, {count}));
            };
            EXPECT_TRUE(same(own.value(run), all.value(parameter))) << "run " << run;
            EXPECT_TRUE(same(own.moment1(run), all.moment1(parameter))) << "run " << run;
            EXPECT_TRUE(same(own.moment2(run), all.moment2(parameter))) << "run " << run;
        }
    }

    MpiSession session_;
    MpiCommunicator data_{session_};
    Stream stream_{make_stream(GetParam())};
    std::unique_ptr<Communicator> nccl_{make_nccl(GetParam(), session_, data_, stream_)};
    SoloCommunicator alone_;
};

TEST_P(ParameterUpdateTest, ASliceARankGivesTheBitsOfTheWhole) {
    std::vector<DType> dtypes{DType::f32, DType::f16};
    if (GetParam() == GradientRoute::kNccl) dtypes = {DType::bf16};
    if (GetParam() == GradientRoute::kCpu) dtypes.push_back(DType::bf16);
    for (const DType dtype : dtypes) {
        Updated whole(stream_, alone_, nullptr, dtype, false),
            slice(stream_, data_, nccl_.get(), dtype, true);
        for (int step = 1; step <= 3; ++step) {
            const float bad = step == 2 ? std::numeric_limits<float>::infinity() : 0.0f;
            whole.run(step, bad);
            Pending over = slice.run(step, bad);
            over.wait_on_host();
            EXPECT_EQ(whole.last.skipped, step == 2 ? 1 : 0);
            expect_same(whole, slice);
        }
    }
}

TEST_P(ParameterUpdateTest, EveryElementIsUpdatedOnOneRank) {
    Updated slice(stream_, data_, nccl_.get(), DType::bf16, true);  // vectors alone stay f32 on every rank
    const Optimizer& own = slice.update->optimizer();
    std::int64_t elements = 0;
    for (const ParameterRun& run : own.runs()) {
        elements += run.count;
        EXPECT_EQ(run.begin % kernels::kNormBlock, 0);
    }
    EXPECT_EQ(data_.all_reduce_value(elements), slice.parameters.elements());
    slice.run(1);
    for (std::size_t i = 0; i < slice.parameters.size(); ++i) {
        const Leaf& leaf = slice.parameters[i].leaf;
        EXPECT_EQ(leaf.value.elements() > 0, !leaf.copy && leaf.gradient.elements() > 0) << i;
    }
    // moments and values of this rank's elements, each run aligned to 64 bytes
    const auto bytes = static_cast<std::int64_t>(own.bytes());
    EXPECT_GE(bytes, 12 * elements);
    EXPECT_LE(bytes, 12 * elements + 12 * 16 * std::ssize(own.runs()));
}

TEST_P(ParameterUpdateTest, SendsAsManyBytesAsTheWholeSum) {
    Updated slice(stream_, data_, nccl_.get(), DType::f32, true);
    slice.run(1);
    const std::int64_t sent = slice.sync->statistics().bytes_sent, elements = slice.sync->layout().elements;
    if (data_.size() == 3) return;  // its ranks hold several subtrees
    EXPECT_EQ(data_.all_reduce_value(sent), 2 * (data_.size() - 1) * elements * 4);
}

INSTANTIATE_TEST_SUITE_P(On, ParameterUpdateTest, testing::ValuesIn(gradient_routes()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace skein
