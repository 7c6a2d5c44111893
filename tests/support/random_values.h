#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace skein::test {

/// Normal values that fp32 holds exactly, so that a kernel and its fp64 reference read the same.
inline std::vector<float> random_floats(std::int64_t count, std::uint32_t seed, float deviation = 1.0f,
                                        float mean = 0.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
}

/// Uniform in [0, bound).
inline std::vector<std::int32_t> random_ids(std::int64_t count, std::int32_t bound, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(bound));
    return ids;
}

/// values[index] for a signed index.
template <class Values>
decltype(auto) at(Values& values, std::int64_t index) {
    return values[static_cast<std::size_t>(index)];
}

template <class Values>
std::int64_t count(const Values& values) {
    return static_cast<std::int64_t>(values.size());
}

}  // namespace skein::test
