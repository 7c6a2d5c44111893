#include "checkpoint/share.h"

#include <gtest/gtest.h>

#include <map>

#include "model/base/error.h"

namespace skein {
namespace {

using Boxes = std::vector<std::vector<std::vector<Box>>>;  // by rank and tensor

Boxes boxes_of(const std::vector<StateTensor>& tensors, const std::vector<std::vector<Layout>>& layouts) {
    Boxes boxes;
    for (const std::vector<Layout>& of_rank : layouts) {
        boxes.emplace_back();
        for (std::size_t t = 0; t < tensors.size(); ++t)
            boxes.back().push_back({Box::of(of_rank[t], tensors[t].global_shape)});
    }
    return boxes;
}

Boxes replicated(int ranks, const std::vector<StateTensor>& tensors) {
    return boxes_of(tensors, std::vector<std::vector<Layout>>(static_cast<std::size_t>(ranks),
                                                              std::vector<Layout>(tensors.size())));
}

TEST(Shares, GiveEveryRankTheSameBytes) {
    std::vector<StateTensor> tensors;
    for (int i = 0; i < 40; ++i) tensors.push_back({std::to_string(i), DType::f32, {64, 10 + i}, {}});
    tensors.push_back({"large", DType::f32, {50'000, 16}, {}});
    for (const int ranks : {1, 2, 3, 4, 7}) {
        std::vector<std::int64_t> bytes(static_cast<std::size_t>(ranks));
        std::int64_t total = 0;
        for (const SharePiece& piece : share_out(tensors, replicated(ranks, tensors))) {
            bytes[static_cast<std::size_t>(piece.rank)] += piece.box.elements() * 4;
            total += piece.box.elements() * 4;
        }
        std::int64_t all = 0;
        for (const StateTensor& tensor : tensors) all += tensor.global_shape.elements() * 4;
        EXPECT_EQ(total, all);
        for (const std::int64_t mine : bytes)
            EXPECT_NEAR(static_cast<double>(mine), static_cast<double>(all) / ranks, 64 * 50 * 4)
                << "within one uncut tensor (64 x 50 floats at most)";
    }
}

TEST(Shares, CoverWhatIsSplitAndWhatIsReplicatedOnce) {
    const std::vector<StateTensor> tensors{{"split", DType::f32, {6, 8}, {}}, {"whole", DType::f32, {9}, {}}};
    std::vector<std::vector<Layout>> layouts;  // two data ranks by two tensor ranks
    for (int rank = 0; rank < 4; ++rank)
        layouts.push_back({Layout::split(1, 2, rank % 2), Layout::replicated()});
    std::map<std::size_t, std::int64_t> elements;
    const std::vector<SharePiece> pieces = share_out(tensors, boxes_of(tensors, layouts), 16);
    for (const SharePiece& piece : pieces) {
        elements[piece.tensor] += piece.box.elements();
        const Box held = Box::of(layouts[static_cast<std::size_t>(piece.rank)][piece.tensor],
                                 tensors[piece.tensor].global_shape);
        EXPECT_TRUE(contains(held, piece.box));
        EXPECT_EQ(piece.box.row_elements(), held.row_elements()) << "whole rows of what the rank holds";
        for (const SharePiece& other : pieces) {
            if (&other == &piece || other.tensor != piece.tensor) continue;
            EXPECT_FALSE(intersection(other.box, piece.box));
        }
    }
    EXPECT_EQ(elements[0], 48);
    EXPECT_EQ(elements[1], 9);
}

TEST(Shares, RefuseATensorThatNobodyHoldsWhole) {
    const std::vector<StateTensor> tensors{{"split", DType::f32, {6, 8}, {}}};
    const auto share = [&](const std::vector<std::vector<Layout>>& layouts) {
        return share_out(tensors, boxes_of(tensors, layouts));
    };
    EXPECT_THROW(share({{Layout::split(1, 2, 0)}, {Layout::split(1, 2, 0)}}), CheckpointError);
    EXPECT_THROW(share({{Layout::split(1, 2, 0)}, {Layout::replicated()}}), CheckpointError);
}

TEST(Shares, NumberWhatARankWritesOfATensor) {
    const std::vector<StateTensor> tensors{{"runs", DType::f32, {4, 3}, {}},
                                           {"nothing", DType::f32, {2}, {}}};
    const Box whole = Box::whole({4, 3});
    const std::vector<SharePiece> pieces = share_out(
        tensors, {{boxes_of_run(whole, 0, 5), {}}, {boxes_of_run(whole, 5, 12), {Box::whole({2})}}});
    ASSERT_EQ(pieces.size(), 5u);  // [0, 3) and [3, 5); [5, 6) and [6, 12)
    const std::vector<std::pair<int, int>> wanted{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 0}};
    for (std::size_t i = 0; i < pieces.size(); ++i)
        EXPECT_EQ(std::pair(pieces[i].rank, pieces[i].place), wanted[i]) << i;
}

/// The flat indices of a box's elements, row-major, in a tensor of this shape.
std::vector<std::int64_t> indices(const Box& box, const Shape& shape) {
    std::vector<std::int64_t> out;
    for (std::int64_t i = 0; i < box.elements(); ++i) {
        std::int64_t rest = i, flat = 0, stride = 1;
        for (int axis = shape.rank() - 1; axis >= 0; --axis) {
            flat += (box.start[axis] + rest % box.count[axis]) * stride;
            rest /= box.count[axis];
            stride *= shape[axis];
        }
        out.push_back(flat);
    }
    return out;
}

TEST(Boxes, OfARunAreItsElementsInOrder) {
    struct Case {
        Shape shape;
        Box box;
        std::size_t most;  // two for each axis but the last, and one
    };
    for (const Case& one :
         {Case{{}, Box::whole({}), 1}, Case{{7}, {{2}, {5}}, 1}, Case{{4, 5}, Box::whole({4, 5}), 3},
          Case{{4, 9}, {{0, 3}, {4, 5}}, 3}, Case{{3, 4, 5}, {{0, 1, 0}, {3, 2, 5}}, 5},
          Case{{3, 2, 3, 4}, Box::whole({3, 2, 3, 4}), 7},
          Case{{5, 1, 3, 1}, {{1, 0, 0, 0}, {4, 1, 3, 1}}, 7}}) {
        const std::vector<std::int64_t> all = indices(one.box, one.shape);
        for (std::int64_t begin = 0; begin <= std::ssize(all); ++begin)
            for (std::int64_t end = begin; end <= std::ssize(all); ++end) {
                std::vector<std::int64_t> found;
                const std::vector<Box> boxes = boxes_of_run(one.box, begin, end);
                EXPECT_LE(boxes.size(), one.most);
                for (const Box& box : boxes) {
                    EXPECT_GT(box.elements(), 0);
                    const std::vector<std::int64_t> these = indices(box, one.shape);
                    found.insert(found.end(), these.begin(), these.end());
                }
                ASSERT_EQ(found, std::vector<std::int64_t>(all.begin() + begin, all.begin() + end))
                    << one.shape << " [" << begin << ", " << end << ")";
            }
    }
}

TEST(Boxes, CopyTheirSharedPart) {
    // A 4 x 3 x 5 tensor of its own flat indices: from rows [1, 4) to columns [1, 3) of axis 1.
    const Box source{{1, 0, 0}, {3, 3, 5}}, target{{0, 1, 0}, {4, 2, 5}};
    std::vector<std::int32_t> from, to(40, -1);
    for (std::int32_t i = 15; i < 60; ++i) from.push_back(i);
    const auto part = intersection(source, target);
    ASSERT_TRUE(part);
    EXPECT_EQ(part->start, Shape({1, 1, 0}));
    EXPECT_EQ(part->count, Shape({3, 2, 5}));
    copy_box(*part, 4, source, std::as_bytes(std::span(from)).data(), target,
             std::as_writable_bytes(std::span(to)).data());
    for (std::int32_t a = 0; a < 4; ++a)
        for (std::int32_t b = 0; b < 2; ++b)
            for (std::int32_t c = 0; c < 5; ++c)
                EXPECT_EQ(to[static_cast<std::size_t>((a * 2 + b) * 5 + c)],
                          a == 0 ? -1 : (a * 3 + b + 1) * 5 + c);
    EXPECT_FALSE(intersection(Box{{0, 0}, {2, 2}}, Box{{2, 0}, {2, 2}}));
}

}  // namespace
}  // namespace skein
