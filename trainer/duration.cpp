#include "trainer/duration.h"

#include <array>
#include <vector>

#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {

namespace {

constexpr std::int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour, kMost = 36525 * kDay;

struct Unit {
    char name;
    std::int64_t seconds;
};
constexpr std::array kUnits{Unit{'d', kDay}, Unit{'h', kHour}, Unit{'m', kMinute}, Unit{'s', 1}};

/// Digits alone, of a number that does not pass the most.
std::optional<std::int64_t> parse_count(std::string_view digits) {
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos)
        return std::nullopt;
    const std::optional<std::int64_t> count = parse_integer(digits);
    return count && *count <= kMost ? count : std::nullopt;
}

std::optional<std::int64_t> parse_units(std::string_view value) {
    std::int64_t sum = 0;
    std::size_t next_unit = 0;
    while (!value.empty()) {
        const std::size_t end = value.find_first_not_of("0123456789");
        if (end == std::string_view::npos) return std::nullopt;
        const std::optional<std::int64_t> count = parse_count(value.substr(0, end));
        while (next_unit < kUnits.size() && kUnits[next_unit].name != value[end]) ++next_unit;
        if (!count || next_unit == kUnits.size() || *count > kMost / kUnits[next_unit].seconds)
            return std::nullopt;
        sum += *count * kUnits[next_unit++].seconds;
        value.remove_prefix(end + 1);
    }
    return sum;
}

/// "[D-]HH:MM:SS" and what may be left out of it.
std::optional<std::int64_t> parse_slurm(std::string_view value) {
    std::int64_t days = 0;
    const std::size_t dash = value.find('-');
    const bool has_days = dash != std::string_view::npos;
    if (has_days) {
        const std::optional<std::int64_t> count = parse_count(value.substr(0, dash));
        if (!count || *count > kMost / kDay) return std::nullopt;
        days = *count;
        value.remove_prefix(dash + 1);
    }
    std::vector<std::int64_t> fields;
    for (bool last = false; !last;) {
        const std::size_t colon = value.find(':');
        last = colon == std::string_view::npos;
        const std::optional<std::int64_t> count = parse_count(value.substr(0, colon));
        if (!count || (!fields.empty() && *count >= 60)) return std::nullopt;
        fields.push_back(*count);
        if (!last) value.remove_prefix(colon + 1);
    }
    if (fields.size() > 3 || (!has_days && fields.size() < 2)) return std::nullopt;
    if (!has_days && fields.size() == 2) fields.insert(fields.begin(), 0);  // MM:SS
    fields.resize(3, 0);
    if (fields[0] > kMost / kHour) return std::nullopt;
    return days * kDay + fields[0] * kHour + fields[1] * kMinute + fields[2];
}

}  // namespace

std::optional<std::int64_t> parse_duration(std::string_view value) {
    if (value.empty()) return std::nullopt;
    std::optional<std::int64_t> seconds = parse_count(value);
    if (!seconds) seconds = parse_units(value);
    if (!seconds) seconds = parse_slurm(value);
    return seconds && *seconds <= kMost ? seconds : std::nullopt;
}

std::string duration_text(std::int64_t seconds) {
    if (seconds == 0) return "0";
    for (const Unit& unit : kUnits)
        if (unit.name != 'd' && seconds % unit.seconds == 0) return text(seconds / unit.seconds, unit.name);
    return text(seconds, "s");
}

}  // namespace skein
