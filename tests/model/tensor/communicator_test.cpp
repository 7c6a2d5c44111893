#include "model/tensor/communicator.h"

#include <gtest/gtest.h>

#include <array>

#include "model/base/error.h"

namespace skein {
namespace {

TEST(SoloCommunicator, LeavesReductionsAsTheyAre) {
    SoloCommunicator solo;
    std::array<float, 3> values{1.0f, -0.0f, 3.0f};
    solo.all_reduce(std::span<float>(values));
    EXPECT_EQ(values, (std::array<float, 3>{1.0f, -0.0f, 3.0f}));
    EXPECT_EQ(solo.all_reduce_value(std::int64_t{7}, Reduction::kMax), 7);
    std::array<float, 3> slice{};
    solo.reduce_scatter(std::span<const float>(values), std::span<float>(slice));
    EXPECT_EQ(slice, values);
}

TEST(SoloCommunicator, CopiesItsOwnPart) {
    SoloCommunicator solo;
    const std::array<std::int32_t, 2> sent{4, 5};
    std::array<std::int32_t, 2> received{};
    const std::array<std::span<std::byte>, 1> receive{std::as_writable_bytes(std::span(received))};
    Pending pending = solo.start_all_gather(std::as_bytes(std::span(sent)), receive);
    EXPECT_TRUE(pending.poll());
    EXPECT_EQ(received, sent);
    EXPECT_EQ(solo.all_gather_text("alone"), std::vector<std::string>{"alone"});
    EXPECT_EQ(solo.broadcast_text("alone", 0), "alone");
    solo.barrier();
}

TEST(SoloCommunicator, RefusesPartsThatDoNotFit) {
    SoloCommunicator solo;
    std::array<std::byte, 2> two{};
    std::array<std::byte, 3> three{};
    const std::array<std::span<std::byte>, 1> receive{three};
    EXPECT_THROW(solo.all_gather(two, receive), ShapeError);
    EXPECT_THROW(solo.all_gather(two, {}), ShapeError);
    EXPECT_THROW(solo.broadcast(two, 1), ShapeError);
    const Outgoing message{0, two};
    EXPECT_THROW(solo.start_exchange({&message, 1}, {}), MpiError);
}

TEST(Slices, CoverEverythingOnce) {
    for (const std::int64_t n : {0, 1, 5, 17})
        for (const int parts : {1, 2, 3, 8}) {
            EXPECT_EQ(slice_begin(n, parts, 0), 0);
            EXPECT_EQ(slice_begin(n, parts, parts), n);
            for (int i = 0; i < parts; ++i) EXPECT_LE(slice_begin(n, parts, i), slice_begin(n, parts, i + 1));
        }
}

}  // namespace
}  // namespace skein
