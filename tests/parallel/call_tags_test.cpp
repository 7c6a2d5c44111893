#include "parallel/call_tags.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "model/base/error.h"

namespace skein {
namespace {

CallSite site_here(const char* name, std::source_location where = std::source_location::current()) {
    return {name, where};
}

TEST(CallTags, ATagKeepsPlaceAndCallWithinMpisBound) {
    for (const std::uint32_t largest : {32767u, 65535u, 8388607u, 2147483647u}) {
        const CallTags tags(largest);
        for (const std::uint32_t place : {0u, 1u, 17u, tags.place_mask()})
            for (const std::uint64_t call : {0ull, 1ull, 511ull, 1ull << 20, (1ull << 40) + 3}) {
                const int tag = tags.tag(call, place);
                EXPECT_GE(tag, 0);
                EXPECT_LE(static_cast<std::uint32_t>(tag), largest);
                EXPECT_EQ(tags.place_of(tag), place);
                EXPECT_EQ(tags.started_call(tag, call + 1), call);
            }
    }
    EXPECT_EQ(CallTags(2147483647u).place_mask(), 4095u);
}

TEST(CallTags, ACallThatIsYetToStartIsToldFromOneThatHas) {
    const CallTags tags(32767);  // nine bits of numbers
    for (const std::uint64_t started : {1ull, 2ull, 600ull, 1023ull, 1024ull, 5000ull}) {
        for (std::uint64_t ago = 0; ago < std::min<std::uint64_t>(started, 250); ++ago)
            EXPECT_EQ(tags.started_call(tags.tag(started - 1 - ago, 3), started), started - 1 - ago);
        for (std::uint64_t ahead = 0; ahead < 250; ++ahead)
            EXPECT_EQ(tags.started_call(tags.tag(started + ahead, 3), started), std::nullopt);
    }
    EXPECT_EQ(tags.started_call(tags.tag(0, 3), 0), std::nullopt);
}

TEST(CallPlaces, NameAndLineMakeThePlace) {
    CallPlaces places(4095);
    const CallSite one = site_here("all-gather"), other = site_here("all-gather");
    const CallSite same_line{"barrier", one.where};
    EXPECT_EQ(places.add(one), places.add(one));
    EXPECT_NE(places.add(one), places.add(same_line));
    EXPECT_EQ(places.describe(places.add(one)),
              text("all-gather at tests/parallel/call_tags_test.cpp:", one.where.line()));
    EXPECT_EQ(places.describe(places.add(same_line)),
              text("barrier at tests/parallel/call_tags_test.cpp:", one.where.line()));
    EXPECT_EQ(places.add(other), CallPlaces(4095).add(other)) << "the same on every rank";
    EXPECT_TRUE(CallPlaces(4095).describe(7).starts_with("a collective that this rank has not met"));
}

}  // namespace
}  // namespace skein
