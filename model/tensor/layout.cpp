#include "model/tensor/layout.h"

#include <array>

namespace skein {

std::int64_t Layout::begin(const Shape& global) const {
    return is_split() ? global[axis] * part / parts : 0;
}

Shape Layout::local(const Shape& global) const {
    if (!is_split()) return global;
    const std::int64_t extent = global[axis] * (part + 1) / parts - global[axis] * part / parts;
    std::array<std::int64_t, Shape::kMaxRank> extents{};
    for (int i = 0; i < global.rank(); ++i)
        extents[static_cast<std::size_t>(i)] = i == axis ? extent : global[i];
    return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(global.rank())));
}

}  // namespace skein
