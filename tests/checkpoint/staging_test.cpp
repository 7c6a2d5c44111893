// A copy has every byte of what it was made from, whatever the sizes, and nothing beside it is written.

#include "checkpoint/staging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "model/base/error.h"

namespace skein {
namespace {

std::vector<std::byte> pattern(std::size_t bytes, unsigned salt) {
    std::vector<std::byte> out(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
        out[i] = static_cast<std::byte>((i * 2654435761u + salt) >> 8 & 0xff);
    return out;
}

std::vector<RankPiece> pieces_of(const std::vector<std::vector<std::byte>>& buffers) {
    std::vector<RankPiece> out;
    for (const std::vector<std::byte>& buffer : buffers)
        out.push_back({"/x", DType::f32, Shape{static_cast<std::int64_t>(buffer.size()) / 4}, buffer});
    return out;
}

TEST(Staging, HasACopyOfEveryByte) {
    // about a line of the cache, so that pieces begin and end anywhere in one, and over some pages
    std::vector<std::size_t> sizes(140);
    std::iota(sizes.begin(), sizes.end(), std::size_t{0});
    sizes.insert(sizes.end(), {4096, 70'001, 3, 1'000'003, 64, 4095});
    std::vector<std::vector<std::byte>> buffers;
    for (const std::size_t size : sizes)
        buffers.push_back(pattern(size, static_cast<unsigned>(buffers.size())));
    for (const int threads : {1, 2, 3, 7}) {
        std::vector<RankPiece> pieces = pieces_of(buffers);
        Staging staging(bytes_of_pieces(pieces), threads);
        staging.take(pieces);
        const std::byte* at = pieces.front().bytes.data();
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            EXPECT_EQ(pieces[i].bytes.data(), at) << "one behind the other";
            EXPECT_NE(at, buffers[i].data());
            EXPECT_TRUE(std::ranges::equal(pieces[i].bytes, buffers[i])) << sizes[i] << ", " << threads;
            at += sizes[i];
        }
    }
}

TEST(Staging, KeepsWhatItTookWhenTheTensorsChange) {
    std::vector<std::vector<std::byte>> buffers{pattern(1000, 1), pattern(77, 2)};
    const std::vector<std::vector<std::byte>> before = buffers;
    std::vector<RankPiece> pieces = pieces_of(buffers);
    Staging staging(bytes_of_pieces(pieces), 2);
    staging.take(pieces);
    for (std::vector<std::byte>& buffer : buffers) std::ranges::fill(buffer, std::byte{9});
    for (std::size_t i = 0; i < pieces.size(); ++i)
        EXPECT_TRUE(std::ranges::equal(pieces[i].bytes, before[i]));
}

TEST(Staging, RefusesMoreThanItHasRoomFor) {
    const std::vector<std::vector<std::byte>> buffers{pattern(65, 1)};
    std::vector<RankPiece> pieces = pieces_of(buffers);
    Staging staging(64, 1);
    EXPECT_THROW(staging.take(pieces), CheckpointError);
    EXPECT_EQ(pieces[0].bytes.data(), buffers[0].data());
}

}  // namespace
}  // namespace skein
