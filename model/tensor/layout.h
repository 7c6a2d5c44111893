#pragma once

#include <cstdint>

#include "model/tensor/shape.h"

namespace skein {

/// How a parameter lies over the tensor-parallel group: replicated, or split along one axis into `parts`
/// nearly equal slices (part i holds [extent * i / parts, extent * (i + 1) / parts)). One idea that serves
/// initial values, the gradient norm and resharding.
struct Layout {
    int axis = -1;  ///< -1: replicated
    int parts = 1;
    int part = 0;

    static Layout replicated() { return {}; }
    static Layout split(int axis, int parts, int part) { return {axis, parts, part}; }

    bool is_split() const { return axis >= 0 && parts > 1; }
    /// First index along the axis that this part holds.
    std::int64_t begin(const Shape& global) const;
    /// The shape of this part of a tensor of shape `global`. Throws ShapeError for an axis that it does not
    /// have.
    Shape local(const Shape& global) const;

    friend bool operator==(const Layout&, const Layout&) = default;
};

}  // namespace skein
