#include "model/tensor/shape.h"

#include <ostream>

#include "model/base/error.h"

namespace skein {

Shape::Shape(std::span<const std::int64_t> extents) {
    if (extents.size() > kMaxRank)
        throw ShapeError(text("shape: ", extents.size(), " axes, at most ", kMaxRank, " are supported"));
    for (const std::int64_t extent : extents) {
        if (extent < 0) throw ShapeError(text("shape: extent ", extent, " is negative"));
        extents_[static_cast<std::size_t>(rank_++)] = extent;
    }
}

std::int64_t Shape::operator[](int axis) const {
    const int at = axis < 0 ? axis + rank_ : axis;
    if (at < 0 || at >= rank_) throw ShapeError(text("shape: axis ", axis, " of ", *this));
    return extents_[static_cast<std::size_t>(at)];
}

std::int64_t Shape::elements() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : extents()) count *= extent;
    return count;
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '[';
    const char* separator = "";
    for (const std::int64_t extent : shape.extents()) {
        out << separator << extent;
        separator = ", ";
    }
    return out << ']';
}

}  // namespace skein
