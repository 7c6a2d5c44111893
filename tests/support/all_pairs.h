#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <ostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace skein {

/// An option with the values that a table takes of it.
struct Axis {
    std::string name;
    std::vector<std::string> values;
};
using AxisValue = std::pair<std::string, std::string>;

/// A value of each axis.
struct Row {
    std::map<std::string, std::string> values;

    const std::string& operator[](const std::string& name) const { return values.at(name); }
    Row with(const std::vector<AxisValue>& changes) const {
        Row row = *this;
        for (const auto& [name, value] : changes) row.values.at(name) = value;
        return row;
    }
    friend std::ostream& operator<<(std::ostream& out, const Row& row) {
        for (const auto& [name, value] : row.values)
            out << (name == "ranks" ? "" : "--") << name << ' ' << value << ' ';
        return out;
    }
};

/// The value after the row's own.
inline std::string next_value(const std::vector<Axis>& axes, const Row& row, const std::string& name) {
    const auto axis = std::ranges::find(axes, name, &Axis::name);
    const auto value = std::ranges::find(axis->values, row[name]);
    return value + 1 == axis->values.end() ? axis->values.front() : *(value + 1);
}

/// Rows so that every two values that may stand together
/// do so in some row. Greedy: each row is begun with a pair that is wanting, each further axis takes the
/// value that brings the most such pairs, and the best of the rows that come of taking the axes in another
/// order is kept. The same rows every time. Throws when a row cannot be completed: each axis wants a value
/// that stands with all others.
inline std::vector<Row> all_pairs(const std::vector<Axis>& axes,
                                  const std::function<bool(const AxisValue&, const AxisValue&)>& may_stand) {
    using Place = std::pair<std::size_t, std::size_t>;  // an axis, and of its values
    constexpr std::size_t kNone = ~std::size_t{0};
    const auto value_at = [&](Place at) {
        return AxisValue{axes[at.first].name, axes[at.first].values[at.second]};
    };
    const auto pair_of = [](Place one, Place other) {
        return one < other ? std::pair(one, other) : std::pair(other, one);
    };
    std::set<std::pair<Place, Place>> stand, wanting;
    for (std::size_t i = 0; i < axes.size(); ++i)
        for (std::size_t j = i + 1; j < axes.size(); ++j)
            for (std::size_t v = 0; v < axes[i].values.size(); ++v)
                for (std::size_t w = 0; w < axes[j].values.size(); ++w)
                    if (may_stand(value_at({i, v}), value_at({j, w}))) stand.insert({{i, v}, {j, w}});
    wanting = stand;

    std::vector<Row> rows;
    std::mt19937 chance;  // the same numbers everywhere
    while (!wanting.empty()) {
        std::vector<std::size_t> best;
        std::size_t best_news = 0;
        for (std::size_t turn = 0; turn < axes.size(); ++turn) {
            std::vector<std::size_t> row(axes.size(), kNone);
            std::size_t news = 1;
            const auto [first, second] = *wanting.begin();
            row[first.first] = first.second;
            row[second.first] = second.second;
            for (std::size_t k = 0; k < axes.size(); ++k) {
                const std::size_t axis = (k + turn) % axes.size(), count = axes[axis].values.size();
                if (row[axis] != kNone) continue;
                std::size_t chosen = kNone, chosen_news = 0;
                const std::size_t start = chance() % count;  // no value is the usual one
                for (std::size_t shift = 0; shift < count; ++shift) {
                    const std::size_t value = (start + shift) % count;
                    std::size_t found = 0;
                    bool may = true;
                    for (std::size_t other = 0; other < axes.size() && may; ++other) {
                        if (row[other] == kNone) continue;
                        const auto pair = pair_of({axis, value}, {other, row[other]});
                        may = stand.contains(pair);
                        found += wanting.contains(pair);
                    }
                    if (!may || (chosen != kNone && found <= chosen_news)) continue;
                    chosen = value;
                    chosen_news = found;
                }
                if (chosen == kNone) throw std::logic_error("no value of " + axes[axis].name + " is left");
                row[axis] = chosen;
                news += chosen_news;
            }
            if (news > best_news) {
                best = std::move(row);
                best_news = news;
            }
        }
        rows.emplace_back();
        for (std::size_t i = 0; i < axes.size(); ++i) {
            rows.back().values.insert(value_at({i, best[i]}));
            for (std::size_t j = i + 1; j < axes.size(); ++j) wanting.erase({{i, best[i]}, {j, best[j]}});
        }
    }
    return rows;
}

}  // namespace skein
