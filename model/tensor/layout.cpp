#include "model/tensor/layout.h"

#include <array>

namespace skein {

Shape Layout::local(const Shape& global) const {
    if (!is_split()) return global;
    const std::int64_t extent = end(global) - begin(global);
    std::array<std::int64_t, Shape::kMaxRank> extents{};
    for (int i = 0; i < global.rank(); ++i)
        extents[static_cast<std::size_t>(i)] = i == axis ? extent : global[i];
    return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(global.rank())));
}

}  // namespace skein
