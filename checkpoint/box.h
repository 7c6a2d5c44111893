#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/tensor/layout.h"
#include "model/tensor/shape.h"

namespace skein {

/// A box of a tensor: the elements [start, start + count) along each axis. Of rank 0: the one element of a
/// scalar.
struct Box {
    Shape start, count;

    static Box whole(const Shape& shape);
    /// What a rank with this layout holds of a tensor of shape `global`.
    static Box of(const Layout& layout, const Shape& global);
    std::int64_t elements() const { return count.elements(); }
    /// Elements of one index along axis 0; 1 for a scalar.
    std::int64_t row_elements() const;
    /// Indices [begin, end) of it along an axis, counted from its own start.
    Box along(int axis, std::int64_t begin, std::int64_t end) const;
    /// The same along axis 0; a scalar is one row.
    Box rows(std::int64_t begin, std::int64_t end) const {
        return count.rank() == 0 ? *this : along(0, begin, end);
    }

    friend bool operator==(const Box&, const Box&) = default;
};

/// Elements [begin, end) of a box in its row-major order as boxes, in that order; each of them is contiguous
/// in it. At most two for each axis but the last, and one.
std::vector<Box> boxes_of_run(const Box& box, std::int64_t begin, std::int64_t end);

/// What two boxes of one tensor share; nothing when that has no elements.
std::optional<Box> intersection(const Box& a, const Box& b);

/// True when `inner` lies within `outer`.
bool contains(const Box& outer, const Box& inner);

/// Copies the elements of `part`, which lies within both, from memory that holds `source_box` to memory that
/// holds `target_box`, both row-major and contiguous, `element` bytes each.
void copy_box(const Box& part, std::size_t element, const Box& source_box, const std::byte* source,
              const Box& target_box, std::byte* target);

}  // namespace skein
