#include "parallel/gradient_sync.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "model/base/error.h"
#include "model/base/philox.h"
#include "model/kernels/elementwise.h"
#include "parallel/mpi_communicator.h"
#include "tests/parallel/gradient_route.h"

namespace skein {
namespace {

using Values = std::vector<float>;

// Floats over 24 binary orders of magnitude: their sum depends on the order. Some are -0, which an empty lane
// makes +0.
float noise(int step, int lane, std::size_t parameter, std::size_t i) {
    const PhiloxKey key = philox_key(static_cast<std::uint64_t>(step), RandomPurpose::kBench,
                                     static_cast<std::uint64_t>(lane), static_cast<std::uint32_t>(parameter));
    const PhiloxBlock block = philox_at(i, key);
    if (i % 37 == 0) return -0.0f;
    return static_cast<float>((uniform(block[0]) - 0.5) * static_cast<double>(1u << block[1] % 24));
}

// What a rank finds in a lane of a batch of `samples`; a lane without samples has nothing.
struct Batch {
    int step = 0, lanes = 1;
    std::int64_t samples = 0;

    bool empty(int lane) const {
        const SampleRange range = Lanes(lanes, 1).samples(lane, samples);
        return range.begin == range.end;
    }
    Values lane_gradient(int lane, std::size_t parameter, std::size_t count) const {
        Values values(count, 0.0f);
        if (!empty(lane))
            for (std::size_t i = 0; i < count; ++i) values[i] = noise(step, lane, parameter, i);
        return values;
    }
    // The tree, written as the definition has it.
    Values sum(std::size_t parameter, std::size_t count, int begin, int end) const {
        if (end - begin == 1) return lane_gradient(begin, parameter, count);
        const int middle = (begin + end) / 2;
        Values left = sum(parameter, count, begin, middle);
        const Values right = sum(parameter, count, middle, end);
        for (std::size_t i = 0; i < count; ++i) left[i] = left[i] + right[i];
        return left;
    }
};

class GradientSyncTest : public testing::TestWithParam<GradientRoute> {
  protected:
    // Of many sizes: shorter than a slice, no multiple of the alignment, longer than a bucket, empty.
    GradientSyncTest() {
        for (const std::int64_t count : {5000, 3, 257, 64, 0, 1000, 31, 16, 4097, 1})
            parameters_.add(stream_, 1, text("parameter.", parameters_.size()), Shape{count},
                            InitialValues::zeros());
    }

    GradientSyncOptions options(int lanes, bool overlap = true) const {
        return {.lanes = lanes, .bucket_bytes = 4096, .overlap = overlap};
    }

    // Puts `values` into the leaf, in two contributions as two passes would: the first is all but the last
    // few elements' worth, so that what is written twice is added to.
    void contribute(Leaf& leaf, const Values& values) {
        const Tensor given = Tensor::from(stream_, leaf.gradient.shape(), std::span(values));
        stream_.run([&](auto& s) {
            kernels::copy_or_add(s, given.data<float>(), leaf.gradient.data<float>(), given.elements(),
                                 leaf.accumulate);
        });
        leaf.accumulate = true;
    }
    Values gradient(const Parameter& parameter) {
        const Tensor here = on_host(stream_, parameter.leaf.gradient);
        return {here.span<float>().begin(), here.span<float>().end()};
    }

    // Runs this rank's part of a step. Parameter 0 plays the tied embedding: it comes last. In the last lane
    // each is ready in reverse order of creation but for two that change places.
    void run_step(GradientSync& sync, const Batch& batch) {
        sync.begin_step();
        for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
            if (batch.empty(lane)) {
                sync.empty_lane(lane);
                continue;
            }
            sync.begin_lane(lane);
            std::vector<std::size_t> order;
            for (std::size_t i = parameters_.size(); i-- > 0;) order.push_back(i);
            std::swap(order[2], order[5]);
            for (const std::size_t i : order) {
                Leaf& leaf = parameters_[i].leaf;
                contribute(leaf, batch.lane_gradient(lane, i, count(i)));
                sync.ready(leaf);
                sync.poll();
            }
        }
        sync.backward_ended();
        sync.finish();
    }

    std::size_t count(std::size_t parameter) const {
        return static_cast<std::size_t>(parameters_[parameter].leaf.value.elements());
    }

    // The number of elements whose bits differ from the tree's.
    int differences(const Batch& batch) {
        int different = 0;
        for (std::size_t p = 0; p < parameters_.size(); ++p) {
            const Values wanted = batch.sum(p, count(p), 0, batch.lanes);
            const Values found = gradient(parameters_[p]);
            for (std::size_t i = 0; i < wanted.size(); ++i)
                different += std::memcmp(&found[i], &wanted[i], sizeof(float)) != 0;
        }
        return different;
    }

    MpiSession session_;
    MpiCommunicator data_{session_};
    Stream stream_{make_stream(GetParam())};
    std::unique_ptr<Communicator> nccl_{make_nccl(GetParam(), session_, data_, stream_)};
    Communicator& gradients_ = nccl_ ? *nccl_ : data_;
    ParameterList parameters_;
};

// Tests whose steps have four lanes, so at most four ranks.
class FourLanesTest : public GradientSyncTest {
    void SetUp() override {
        if (data_.size() > 4) GTEST_SKIP();
    }
};

TEST_P(GradientSyncTest, GivesTheBitsOfTheLaneTreeOnAnyNumberOfRanks) {
    for (const int lanes : {4, 8})
        for (const bool overlap : {true, false}) {
            if (data_.size() > lanes) continue;
            GradientSync sync(gradients_, parameters_, stream_, options(lanes, overlap));
            // All lanes full; ragged; most lanes empty; no sample at all.
            int step = 0;
            for (const std::int64_t samples : {16, 11, 3, 1, 0}) {
                const Batch batch{++step, lanes, samples};
                run_step(sync, batch);
                EXPECT_EQ(differences(batch), 0)
                    << lanes << " lanes, " << samples << " samples, overlap " << overlap;
            }
        }
}

TEST_P(FourLanesTest, StepsFollowEachOtherWithoutAWaitOfTheHost) {
    GradientSync sync(gradients_, parameters_, stream_, options(4));
    std::vector<Tensor> found;
    for (int step = 1; step <= 3; ++step) {
        run_step(sync, {step, 4, 16});
        const Tensor& sum = parameters_[0].leaf.gradient;
        found.push_back(Tensor::empty(stream_, DType::f32, sum.shape()));
        stream_.run([&](auto& s) {
            kernels::copy_or_add(s, sum.data<float>(), found.back().data<float>(), sum.elements(), false);
        });
    }
    for (int step = 1; step <= 3; ++step) {
        const Values wanted = Batch{step, 4, 16}.sum(0, count(0), 0, 4);
        const Tensor here = on_host(stream_, found[static_cast<std::size_t>(step - 1)]);
        EXPECT_EQ(std::memcmp(here.raw(), wanted.data(), here.bytes()), 0) << "step " << step;
    }
}

TEST_P(GradientSyncTest, TheSumOfTheTestDependsOnItsOrder) {
    const Batch batch{1, 8, 16};
    const Values tree = batch.sum(0, count(0), 0, 8);
    Values in_order(count(0), 0.0f);
    for (int lane = 0; lane < 8; ++lane) {
        const Values one = batch.lane_gradient(lane, 0, count(0));
        for (std::size_t i = 0; i < one.size(); ++i) in_order[i] += one[i];
    }
    EXPECT_NE(std::memcmp(tree.data(), in_order.data(), tree.size() * sizeof(float)), 0);
}

TEST_P(FourLanesTest, AnEmptyLaneTurnsMinusZeroIntoZero) {
    GradientSync sync(gradients_, parameters_, stream_, options(4));
    run_step(sync, {1, 4, 1});  // only lane 3 has a sample
    EXPECT_FALSE(std::signbit(gradient(parameters_[0])[0]));
    run_step(sync, {1, 4, 4});
    EXPECT_TRUE(std::signbit(gradient(parameters_[0])[0]));
}

TEST_P(FourLanesTest, AParameterThatNobodyUsedContributesZero) {
    GradientSync sync(gradients_, parameters_, stream_, options(4));
    for (int step = 0; step < 2; ++step) {
        sync.begin_step();
        for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
            sync.begin_lane(lane);
            for (std::size_t i = parameters_.size(); i-- > 1;) {
                if (lane % 2 == 0) contribute(parameters_[i].leaf, Values(count(i), 1.0f));
                sync.ready(parameters_[i].leaf);  // in odd lanes nothing was written
            }
        }
        sync.finish();
    }
    for (const float value : gradient(parameters_[0])) ASSERT_EQ(value, 0.0f);
    for (const float value : gradient(parameters_[8])) ASSERT_EQ(value, 2.0f);
}

TEST_P(FourLanesTest, SendsFullBucketsBeforeBackwardEnds) {
    GradientSync sync(gradients_, parameters_, stream_, options(4));
    const Batch batch{1, 4, 16};
    sync.begin_step();
    for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
        sync.begin_lane(lane);
        for (std::size_t i = parameters_.size(); i-- > 0;) {
            if (i == 0 &&
                lane + 1 == sync.own_lanes().end)  // all but the last are under way: let some of it arrive
                while (data_.size() > 1 && sync.statistics().bytes_sent == 0) sync.poll();
            contribute(parameters_[i].leaf, batch.lane_gradient(lane, i, count(i)));
            sync.ready(parameters_[i].leaf);
        }
    }
    sync.backward_ended();
    sync.finish();
    const GradientSyncStatistics statistics = sync.statistics();
    EXPECT_EQ(differences(batch), 0);
    if (data_.size() == 1) {
        EXPECT_EQ(statistics.bytes_sent, 0);
        return;
    }
    EXPECT_GT(statistics.bytes_sent_during_backward, 0);
    EXPECT_LT(statistics.bytes_sent_during_backward, statistics.bytes_sent);
    // All ranks together send what a ring does, 2 (R-1)/R of the gradient each, where each rank holds one
    // subtree.
    if (data_.size() != 3) {
        EXPECT_EQ(data_.all_reduce_value<std::int64_t>(statistics.bytes_sent),
                  2 * (data_.size() - 1) * sync.layout().elements * static_cast<std::int64_t>(sizeof(float)));
    }
}

TEST_P(FourLanesTest, WithoutOverlapNothingLeavesDuringBackward) {
    GradientSync sync(gradients_, parameters_, stream_, options(4, false));
    run_step(sync, {1, 4, 16});
    EXPECT_EQ(sync.statistics().bytes_sent_during_backward, 0);
    EXPECT_EQ(sync.statistics().bytes_sent > 0, data_.size() > 1);
}

// 111 in eights over four ranks: 24, 24, 32, 31.
TEST_P(FourLanesTest, ShardedEveryTensorRankHasTheRoomOfTheLargestPart) {
    GradientSyncOptions sharded = options(4);
    sharded.sharded = true;
    for (int part = 0; part < 4; ++part) {
        ParameterList shared;
        shared.add(stream_, 1, "whole", Shape{40}, InitialValues::zeros());
        const Parameter& split = shared.add(stream_, 1, "split", Shape{111, 3}, InitialValues::zeros(),
                                            Layout::split(0, 4, part, 8));
        const GradientSync sync(gradients_, shared, stream_, sharded);
        EXPECT_EQ(sync.layout().slices[1].count, 32 * 3);
        EXPECT_LE(split.shape().elements(), sync.layout().slices[1].count);
    }
}

TEST_P(FourLanesTest, ManyBucketsPassThroughTheWindowOfThoseInFlight) {
    ParameterList many;
    for (int i = 0; i < 100; ++i) many.add(stream_, 1, text("p", i), Shape{40}, InitialValues::zeros());
    GradientSync sync(gradients_, many, stream_, {.lanes = 4, .bucket_bytes = 128});
    EXPECT_GT(sync.layout().buckets.size(), 100u);
    sync.begin_step();
    for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
        sync.begin_lane(lane);
        // Ranks finish parameters in opposite orders; buckets leave in the same one.
        for (std::size_t i = 0; i < many.size(); ++i) {
            const std::size_t p = data_.rank() % 2 == 0 ? i : many.size() - 1 - i;
            contribute(many[p].leaf, Values(40, static_cast<float>(p) + static_cast<float>(lane)));
            sync.ready(many[p].leaf);
            sync.poll();
        }
    }
    sync.finish();
    for (std::size_t p = 0; p < many.size(); ++p)
        for (const float value : gradient(many[p])) ASSERT_EQ(value, 4.0f * static_cast<float>(p) + 6.0f);
}

TEST_P(GradientSyncTest, TheFastReductionIsExactOnIntegers) {
    GradientSyncOptions fast = options(8);
    fast.reduction = GradientReduction::kFast;
    GradientSync sync(gradients_, parameters_, stream_, fast);
    EXPECT_EQ(sync.buffer_count(), 1);
    for (int step = 0; step < 2; ++step) {
        sync.begin_step();
        for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
            if (lane % 3 == 2) {
                sync.empty_lane(lane);
                continue;
            }
            sync.begin_lane(lane);
            for (std::size_t i = parameters_.size(); i-- > 0;) {
                contribute(parameters_[i].leaf, Values(count(i), static_cast<float>(1 << lane)));
                sync.ready(parameters_[i].leaf);
                sync.poll();
            }
        }
        sync.finish();
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        for (const float value : gradient(parameters_[i])) ASSERT_EQ(value, 1 + 2 + 8 + 16 + 64 + 128);
}

TEST_P(FourLanesTest, HoldsAsManyBuffersAsItsLanesNeed) {
    GradientSync one(gradients_, parameters_, stream_, options(4));
    const int lanes = one.own_lanes().end - one.own_lanes().begin;
    EXPECT_EQ(one.buffer_count(), lanes == 4 ? 3 : lanes);  // two lanes: 2, one lane: 1
    EXPECT_EQ(one.buffer_bytes(), static_cast<std::size_t>(one.buffer_count()) *
                                      static_cast<std::size_t>(one.layout().elements) * sizeof(float));
    EXPECT_EQ(one.staging_bytes() > 0, data_.size() > 1);
}

TEST_P(FourLanesTest, AStepHoldsNoMoreStagingThanItSaysAndGivesItBack) {
    ParameterList many;
    for (int i = 0; i < 100; ++i) many.add(stream_, 1, text("p", i), Shape{1024}, InitialValues::zeros());
    GradientSync sync(gradients_, many, stream_, options(4));
    const std::size_t before = stream_.pool().statistics().in_use;
    stream_.pool().reset_peak();
    sync.begin_step();
    for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) sync.empty_lane(lane);
    sync.finish();
    const Pool::Statistics after = stream_.pool().statistics();
    EXPECT_EQ(after.in_use, before);
    EXPECT_LE(after.peak - before, sync.staging_bytes() * 9 / 8);  // size classes are at most 1/8 apart
    // NCCL's is held for good.
    EXPECT_EQ(after.peak > before, data_.size() > 1 && GetParam() != GradientRoute::kNccl);
}

// Elements of the buffer that this rank sums, by bucket.
std::vector<std::pair<std::int64_t, std::int64_t>> own_slices(const GradientSync& sync, int rank) {
    std::vector<std::pair<std::int64_t, std::int64_t>> slices;
    for (const GradientLayout::Bucket& bucket : sync.layout().buckets)
        slices.emplace_back(bucket.cuts[static_cast<std::size_t>(rank)],
                            bucket.cuts[static_cast<std::size_t>(rank) + 1]);
    return slices;
}

TEST_P(FourLanesTest, AShardedSumIsTheTreesInTheOwnSlicesAndEverywhereOnceTheyAreSpread) {
    GradientSyncOptions sharded = options(4);
    sharded.sharded = true;
    GradientSync sync(gradients_, parameters_, stream_, sharded);
    for (int step = 1; step <= 2; ++step) {
        const Batch batch{step, 4, 11};
        run_step(sync, batch);
        for (const auto& [begin, end] : own_slices(sync, data_.rank()))
            for (std::size_t p = 0; p < parameters_.size(); ++p) {
                const GradientLayout::Slice& slice = sync.layout().slices[p];
                const Values wanted = batch.sum(p, count(p), 0, 4), found = gradient(parameters_[p]);
                for (std::int64_t at = std::max(begin, slice.begin);
                     at < std::min(end, slice.begin + slice.count); ++at) {
                    const auto i = static_cast<std::size_t>(at - slice.begin);
                    ASSERT_EQ(std::memcmp(&found[i], &wanted[i], sizeof(float)), 0) << p << " " << i;
                }
            }
        EXPECT_EQ(differences(batch) == 0, data_.size() == 1) << "nothing was spread";
        sync.spread(sync.layout().buckets.size());
        sync.await_spread(sync.layout().buckets.size());
        EXPECT_EQ(differences(batch), 0);
        Pending last = sync.last_spread();
        last.wait_on_host();
    }
}

TEST_P(FourLanesTest, MoreBucketsAreSpreadThanGoAtOnce) {
    if (GetParam() != GradientRoute::kCpu) GTEST_SKIP() << "many elements";
    ParameterList many;
    many.add(stream_, 1, "p", Shape{18 * data_.size() * kernels::kNormBlock * 2}, InitialValues::zeros());
    for (const bool overlap : {true, false}) {
        GradientSync sync(gradients_, many, stream_,
                          {.lanes = 4, .bucket_bytes = 4096, .overlap = overlap, .sharded = true});
        const std::size_t buckets = sync.layout().buckets.size();
        EXPECT_EQ(buckets, 9u);
        sync.begin_step();
        for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) sync.empty_lane(lane);
        sync.finish();
        const std::span<float> values = many[0].leaf.gradient.span<float>();
        const auto slices = own_slices(sync, data_.rank());
        for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
            for (std::int64_t at = slices[bucket].first; at < slices[bucket].second; ++at)
                values[static_cast<std::size_t>(at)] = static_cast<float>(at);
            sync.spread(bucket + 1);
        }
        sync.await_spread(buckets);
        std::size_t different = 0;
        for (std::size_t i = 0; i < values.size(); ++i) different += values[i] != static_cast<float>(i);
        EXPECT_EQ(different, 0u);
    }
}

TEST_P(GradientSyncTest, AShardedFastReductionIsRefused) {
    GradientSyncOptions both = options(8);
    both.reduction = GradientReduction::kFast;
    both.sharded = true;
    EXPECT_THROW(GradientSync(gradients_, parameters_, stream_, both), ConfigError);
}

TEST_P(GradientSyncTest, FewerLanesThanRanksAreRefused) {
    if (data_.size() == 1) return;
    EXPECT_THROW(GradientSync(gradients_, parameters_, stream_, options(1)), ConfigError);
}

TEST_P(GradientSyncTest, ARankThatFailsToMakeItKeepsNobodyWaiting) {
    if (data_.size() == 1) GTEST_SKIP() << "there are no others";
    const bool fails = data_.rank() == data_.size() - 1;
    const auto make = [&] {
        GradientSync sync(gradients_, parameters_, stream_, options(fails ? 1 : 8));  // too few lanes there
        throw Error("the others leave as well");
    };
    EXPECT_THROW(make(), Error);
    EXPECT_EQ(data_.all_reduce_value(std::int64_t{fails}), 1);
}

TEST_P(FourLanesTest, ARankThatDoesNotComeEndsTheOthersWait) {
    if (data_.size() == 1 || GetParam() != GradientRoute::kNccl) GTEST_SKIP() << "only NCCL's waits end";
    const int stuck = data_.size() - 1;
    const std::string line = message_of([&] {
        const auto nccl =
            make_nccl(GetParam(), session_, data_, stream_, {.timeout_seconds = short_timeout()});
        GradientSync sync(*nccl, parameters_, stream_, options(4));
        if (data_.rank() != stuck) {
            run_step(sync, {1, 4, 16});
            nccl->start_exchange({}, {}).wait_on_host();
        }
        throw Error("not waited for");
    });
    data_.barrier();
    EXPECT_EQ(line.find("not waited for") != line.npos, data_.rank() == stuck) << line;
    EXPECT_EQ(line.find(text("rank ", stuck, " has started 1;")) != line.npos, data_.rank() != stuck) << line;
}

TEST_P(FourLanesTest, ALaneOutOfTurnIsAnError) {
    GradientSync sync(gradients_, parameters_, stream_, options(4));
    EXPECT_THROW(sync.begin_lane(sync.own_lanes().begin), Error);  // no step has begun
    sync.begin_step();
    EXPECT_THROW(sync.begin_lane(sync.own_lanes().end), Error);
    EXPECT_THROW(sync.finish(), Error);
    sync.begin_lane(sync.own_lanes().begin);
    sync.ready(parameters_[3].leaf);
    EXPECT_THROW(sync.ready(parameters_[3].leaf), Error);
    Leaf stranger;
    EXPECT_THROW(sync.ready(stranger), Error);
}

// y = w + x as an op on a tape, so that the tape decides when a parameter is final.
Var add(const Var& x, const Var& w) {
    const Shape shape = x.shape();
    Stream& stream = x.tape().stream();
    Tensor sum = Tensor::empty(stream, DType::f32, shape);
    stream.run([&](auto& s) {
        kernels::add(s, x.value().data<float>(), w.value().data<float>(), sum.data<float>(),
                     shape.elements());
    });
    return x.tape().record(sum, {x, w}, [a = NodeRef(x), b = NodeRef(w)](Tape& tape, const Tensor& gradient) {
        for (const NodeRef node : {a, b}) {
            if (!tape.needs_gradient(node)) continue;
            const GradientSlot slot = tape.gradient_slot(node);
            tape.stream().run([&](auto& s) {
                kernels::copy_or_add(s, gradient.data<float>(), slot.target.data<float>(),
                                     gradient.elements(), slot.accumulate);
            });
        }
    });
}

TEST_P(FourLanesTest, ATiedParameterIsReadyOnceAndLast) {
    ParameterList tied;
    for (const char* name : {"embedding", "first", "second"})
        tied.add(stream_, 1, name, Shape{20}, InitialValues::zeros());
    GradientSync sync(gradients_, tied, stream_, {.lanes = 4, .bucket_bytes = 128});
    sync.begin_step();
    for (int lane = sync.own_lanes().begin; lane < sync.own_lanes().end; ++lane) {
        sync.begin_lane(lane);
        std::vector<const Leaf*> order;
        for (const bool last_pass : {false, true}) {
            Tape tape(stream_);
            if (last_pass) {
                tape.on_leaf_final = [&](Leaf& leaf) {
                    order.push_back(&leaf);
                    sync.ready(leaf);
                };
                tape.after_op = [&] { sync.poll(); };
            }
            const Var embedding = tape.leaf(tied[0].leaf);
            Var x = add(tape.constant(Tensor::zeros(stream_, DType::f32, {20})), embedding);
            x = add(x, tape.leaf(tied[1].leaf));
            x = add(x, tape.leaf(tied[2].leaf));
            x = add(x, tape.leaf(tied[0].leaf));  // the head uses it again
            const Values ones(20, static_cast<float>(lane + 1));
            tape.backward(x, Tensor::from(stream_, {20}, std::span(ones)));
        }
        EXPECT_EQ(order, (std::vector<const Leaf*>{&tied[2].leaf, &tied[1].leaf, &tied[0].leaf}));
    }
    sync.backward_ended();
    sync.finish();
    // Two passes a lane of 1 + 2 + 3 + 4 each; the embedding is used twice.
    for (const float value : gradient(tied[0])) ASSERT_EQ(value, 40.0f);
    for (const float value : gradient(tied[1])) ASSERT_EQ(value, 20.0f);
}

INSTANTIATE_TEST_SUITE_P(On, GradientSyncTest, testing::ValuesIn(gradient_routes()),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(On, FourLanesTest, testing::ValuesIn(gradient_routes()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace skein
