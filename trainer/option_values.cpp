#include "trainer/option_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace skein {

namespace {

template <class Value>
std::optional<Value> parse_whole(std::string_view value) {
    Value parsed{};
    const char* end = value.data() + value.size();
    const auto [stopped, error] = std::from_chars(value.data(), end, parsed);
    if (error != std::errc{} || stopped != end) return std::nullopt;
    return parsed;
}

std::string_view behind_last_dot(std::string_view name) {
    const std::size_t dot = name.rfind('.');
    return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

/// Edits from what was typed to a name; an abbreviation counts as one.
std::size_t slip(std::string_view typed, std::string_view name) {
    if (typed.size() >= 2 && typed.size() < name.size() && name.starts_with(typed)) return 1;
    return edit_distance(typed, name);
}

/// How many edits still count as a slip of the finger.
std::size_t tolerated_edits(std::string_view name) {
    return std::max<std::size_t>(1, name.size() / 3);
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view value) {
    return parse_whole<std::int64_t>(value);
}

std::optional<std::uint64_t> parse_unsigned(std::string_view value) {
    return parse_whole<std::uint64_t>(value);
}

std::optional<double> parse_number(std::string_view value) {
    const std::optional<double> parsed = parse_whole<double>(value);
    if (!parsed || !std::isfinite(*parsed)) return std::nullopt;
    return parsed;
}

std::optional<bool> parse_boolean(std::string_view value) {
    for (const char* word : {"true", "on", "yes", "1"}) {
        if (value == word) return true;
    }
    for (const char* word : {"false", "off", "no", "0"}) {
        if (value == word) return false;
    }
    return std::nullopt;
}

std::string number_text(double value) {
    char buffer[64];
    const auto [end, error] = std::to_chars(std::begin(buffer), std::end(buffer), value);
    (void)error;  // 64 characters hold the shortest form of any double
    return std::string(std::begin(buffer), end);
}

std::string either(const std::vector<std::string>& words) {
    std::string all;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) all += i + 1 == words.size() ? " or " : ", ";
        all += words[i];
    }
    return all;
}

std::size_t edit_distance(std::string_view one, std::string_view other) {
    // Optimal string alignment: row i holds the distances of one[0, i) to every prefix of other.
    std::vector<std::size_t> before_last(other.size() + 1);
    std::vector<std::size_t> last(other.size() + 1);
    std::vector<std::size_t> row(other.size() + 1);
    for (std::size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= one.size(); ++i) {
        before_last = last;
        last = row;
        row[0] = i;
        for (std::size_t j = 1; j <= other.size(); ++j) {
            const std::size_t replaced = last[j - 1] + (one[i - 1] == other[j - 1] ? 0 : 1);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
            if (i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1]) {
                row[j] = std::min(row[j], before_last[j - 2] + 1);
            }
        }
    }
    return row[other.size()];
}

std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
    const std::string_view leaf = behind_last_dot(name);
    std::optional<std::string> nearest;
    std::size_t smallest = 0;
    for (const std::string& candidate : candidates) {
        const std::size_t whole = slip(name, candidate);
        const std::size_t in_leaf = slip(leaf, behind_last_dot(candidate));
        const bool is_near = whole <= tolerated_edits(name) || in_leaf <= tolerated_edits(leaf);
        // A leaf that fits under another section is a little worse than the same slip in the whole name.
        const std::size_t distance = std::min(whole, in_leaf + 1);
        if (is_near && (!nearest || distance < smallest)) {
            nearest = candidate;
            smallest = distance;
        }
    }
    return nearest;
}

}  // namespace skein
