#include "model/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "model/base/error.h"
#include "model/tensor/layout.h"

namespace skein {
namespace {

TEST(Shape, CountsElementsAndReadsAxesFromBothEnds) {
    const Shape shape{2, 3, 4};
    EXPECT_EQ(shape.elements(), 24);
    EXPECT_EQ(shape[-1], 4);
    EXPECT_EQ(Shape{}.elements(), 1);
    EXPECT_THROW(shape[3], ShapeError);
    EXPECT_THROW((Shape{2, -1}), ShapeError);
}

TEST(Tensor, ReshapeAndViewShareStorageAndCheckSizes) {
    Stream stream(1);
    const std::vector<float> values{0, 1, 2, 3, 4, 5};
    const Tensor tensor = Tensor::from<float>(stream, {2, 3}, values);
    EXPECT_EQ(tensor.reshape({3, 2}).data<float>(), tensor.data<float>());
    EXPECT_EQ(tensor.view(3, {3}).data<float>()[0], 3.0f);
    EXPECT_THROW(tensor.reshape({7}), ShapeError);
    EXPECT_THROW(tensor.view(4, {3}), ShapeError);
    EXPECT_THROW(tensor.data<double>(), ShapeError);
    EXPECT_THROW(Tensor::from<float>(stream, {7}, values), ShapeError);
}

TEST(Pool, ReusesBlocksSoThatRepeatedShapesAskTheSystemForNothing) {
    Stream stream(1);
    const auto step = [&] {
        const Tensor a = Tensor::empty(stream, DType::f32, {1000});
        const Tensor b = Tensor::empty(stream, DType::f32, {1 << 20});
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.raw()) % 64, 0u);
    };
    step();
    const Pool::Statistics before = stream.pool().statistics();
    EXPECT_EQ(before.in_use, 0u);
    for (int i = 0; i < 10; ++i) step();
    EXPECT_EQ(stream.pool().statistics().system_calls, before.system_calls);
    EXPECT_EQ(stream.pool().statistics().peak, before.peak);
}

TEST(Pool, WastesAtMostAnEighth) {
    Stream stream(1);
    for (std::size_t bytes : {4097u, 70'000u, 1'000'001u, 33'554'433u}) {
        const BlockRef block = stream.pool().allocate(bytes);
        EXPECT_GE(block.get()->bytes, bytes);
        EXPECT_LE(static_cast<double>(block.get()->bytes), 1.126 * static_cast<double>(bytes));
    }
}

TEST(Pool, GivesASmallerTensorALargerBlockButNoneOfMoreThanTwice) {
    Stream stream(1);
    const auto take = [&](std::size_t bytes) { return stream.pool().allocate(bytes); };
    const std::byte* large = take(1 << 20).get()->data;
    EXPECT_EQ(take(600'000).get()->data, large);
    EXPECT_NE(take(300'000).get()->data, large);
    EXPECT_EQ(stream.pool().statistics().reserved, (1u << 20) + take(300'000).get()->bytes);
    EXPECT_EQ(stream.pool().statistics().in_use, 0u);
}

TEST(Pool, TellsWhatOfItsBlocksWasAskedFor) {
    Stream stream(1);
    { const BlockRef first = stream.pool().allocate(70'000); }
    EXPECT_EQ(stream.pool().statistics().touched, 70'000u);
    { const BlockRef second = stream.pool().allocate(70'100); }
    EXPECT_EQ(stream.pool().statistics().touched, 70'100u) << "the same block, a little more of it";
    { const BlockRef third = stream.pool().allocate(69'000); }
    EXPECT_EQ(stream.pool().statistics().touched, 70'100u);
}

TEST(StreamThatOnlyPlans, CountsWhatTensorsTakeAndComputesNothing) {
    for (const Device device : {Device::cpu, Device::cuda}) {  // whatever this build has
        Stream stream(PlanOnly{device});
        EXPECT_TRUE(stream.plans());
        EXPECT_EQ(stream.device(), device);
        constexpr std::int64_t kMany = std::int64_t{1} << 42;  // 16 TiB
        const Tensor a = Tensor::zeros(stream, DType::f32, {kMany});
        const Tensor b = Tensor::empty(stream, DType::f32, {kMany});
        EXPECT_NE(a.raw(), b.raw());
        EXPECT_EQ(stream.pool().statistics().touched, std::size_t{8} * kMany);
        const std::vector<std::int32_t> ids{1, 2, 3};
        EXPECT_EQ(Tensor::from<std::int32_t>(stream, {3}, ids).device(), device);
        bool ran = false;
        stream.run([&](auto&) { ran = true; });
        EXPECT_FALSE(ran);
        EXPECT_THROW(stream.run([](auto&) { return 1; }), Error) << "there is no result";
        EXPECT_THROW(a.span<float>(), ShapeError) << "nothing to be read";
        EXPECT_THROW(on_host(stream, a).raw_span(), ShapeError);
        Event event;
        event.record(stream);
        EXPECT_TRUE(event.done());
        stream.synchronize();
    }
}

TEST(Layout, SlicesCoverAnAxisThatIsNotDivisible) {
    const Shape global{101, 8};
    std::int64_t covered = 0;
    for (int part = 0; part < 4; ++part) {
        const Layout layout = Layout::split(0, 4, part);
        EXPECT_EQ(layout.begin(global), covered);
        covered += layout.local(global)[0];
        EXPECT_EQ(layout.local(global)[1], 8);
    }
    EXPECT_EQ(covered, 101);
    EXPECT_EQ(Layout::replicated().local(global), global);
}

TEST(Layout, SlicesBeginAtMultiplesOfTheGrainAndCoverTheAxis) {
    for (const std::int64_t extent : {0, 5, 8, 31, 101, 1000})
        for (const int parts : {1, 2, 3, 4, 7})
            for (const int grain : {1, 3, 8}) {
                const Shape global{2, extent, 3};
                std::int64_t covered = 0;
                for (int part = 0; part < parts; ++part) {
                    SCOPED_TRACE(text("part ", part, " of ", parts, " of ", extent, ", grain ", grain));
                    const Layout layout = Layout::split(1, parts, part, grain);
                    EXPECT_EQ(layout.is_split(), parts > 1);
                    const Shape local = layout.local(global);
                    EXPECT_EQ(layout.begin(global), covered);
                    EXPECT_EQ(layout.end(global), covered + local[1]);
                    EXPECT_EQ(layout.begin(global) % grain, 0);
                    // as even as the grain lets them be
                    EXPECT_LT(std::abs(layout.begin(global) - extent * part / parts), grain);
                    covered += local[1];
                    EXPECT_EQ(local, (Shape{2, local[1], 3}));
                }
                EXPECT_EQ(covered, extent);
            }
}

TEST(Layout, WithAnotherGrainIsAnother) {
    EXPECT_EQ(Layout::split(0, 4, 1), Layout::split(0, 4, 1, 1));
    EXPECT_FALSE(Layout::split(0, 4, 1, 8) == Layout::split(0, 4, 1));
}

}  // namespace
}  // namespace skein
