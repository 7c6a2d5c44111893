#include "trainer/duration.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "trainer/options.h"

namespace skein {
namespace {

TEST(Duration, IsReadFromNumbersUnitsAndWhatSlurmWrites) {
    constexpr std::int64_t kHour = 3600, kDay = 24 * kHour;
    const std::pair<const char*, std::int64_t> cases[] = {
        {"0", 0},
        {"3600", 3600},
        {"3600s", 3600},
        {"90m", 5400},
        {"4h", 4 * kHour},
        {"2d", 2 * kDay},
        {"1h30m", 5400},
        {"1d2h3m4s", kDay + 2 * kHour + 184},
        {"1-12:00:00", 36 * kHour},
        {"1-12", 36 * kHour},
        {"1-12:30", 36 * kHour + 1800},
        {"12:00:00", 12 * kHour},
        {"100:00:00", 100 * kHour},
        {"1:30", 90},
        {"0:07", 7},
        {"36525d", 36525 * kDay},
    };
    for (const auto& [value, seconds] : cases) EXPECT_EQ(parse_duration(value), seconds) << value;
}

TEST(Duration, IsNothingForAnythingElse) {
    for (const char* value : {"",
                              " ",
                              "h",
                              "4x",
                              "4 h",
                              "-1",
                              "1.5h",
                              "1m1h",
                              "1h1h",
                              "4h5",
                              "1:60",
                              "1:00:60",
                              "1:",
                              ":1",
                              "1::1",
                              "1-",
                              "-1:00",
                              "1:00:00:00",
                              "1-1-1",
                              "UNLIMITED",
                              "INVALID",
                              "36526d",
                              "99999999999999999999",
                              "9223372036854775807",
                              "9223372036854775807d",
                              "9999999999:00:00",
                              "1e3"})
        EXPECT_EQ(parse_duration(value), std::nullopt) << value;
}

TEST(Duration, IsWrittenInItsLargestUnitAndReadBack) {
    EXPECT_EQ(duration_text(0), "0");
    EXPECT_EQ(duration_text(4 * 3600), "4h");
    EXPECT_EQ(duration_text(36 * 3600), "36h");
    EXPECT_EQ(duration_text(5400), "90m");
    EXPECT_EQ(duration_text(3601), "3601s");
    for (const std::int64_t seconds : {1, 59, 60, 61, 3599, 3600, 3660, 86400, 86401})
        EXPECT_EQ(parse_duration(duration_text(seconds)), seconds);
}

TEST(Duration, OfTheTimeLimitIsKeptInTheConfiguration) {
    RunConfig config;
    set_option(config, "train.time-limit", "1-12:00:00");
    EXPECT_EQ(get_option(config, "train.time-limit"), "36h");
    set_option(config, "train.time-limit", "");
    EXPECT_EQ(config.train.time_limit, 0);
    EXPECT_THROW(set_option(config, "train.time-limit", "soon"), ConfigError);
}

}  // namespace
}  // namespace skein
