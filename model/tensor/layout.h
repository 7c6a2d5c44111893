#pragma once

#include <cstdint>

#include "model/tensor/shape.h"

namespace skein {

/// How a parameter lies over the tensor-parallel group: replicated, or split along one axis into `parts`
/// nearly equal slices: part i begins at extent · i / parts, rounded down to a multiple of `grain`. One idea
/// that serves initial values, the gradient norm and resharding.
struct Layout {
    int axis = -1;  ///< -1: replicated
    int parts = 1;
    int part = 0;
    int grain = 1;

    static Layout replicated() { return {}; }
    static Layout split(int axis, int parts, int part, int grain = 1) { return {axis, parts, part, grain}; }

    bool is_split() const { return axis >= 0 && parts > 1; }
    /// The indices along the axis that this part holds: [begin, end). 0 and 0 where there is no axis.
    std::int64_t begin(const Shape& global) const { return is_split() ? cut(global[axis], part) : 0; }
    std::int64_t end(const Shape& global) const { return axis >= 0 ? cut(global[axis], part + 1) : 0; }
    /// The same split as its part i sees it; what is not split is the same for all.
    Layout of_part(int i) const { return is_split() ? split(axis, parts, i, grain) : *this; }
    /// The shape of this part of a tensor of shape `global`. Throws ShapeError for an axis that it does not
    /// have.
    Shape local(const Shape& global) const;

    friend bool operator==(const Layout&, const Layout&) = default;

  private:
    std::int64_t cut(std::int64_t extent, int i) const {
        return i == parts ? extent : extent * i / parts / grain * grain;
    }
};

}  // namespace skein
