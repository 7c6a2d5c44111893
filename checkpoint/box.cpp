#include "checkpoint/box.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace skein {
namespace {

using Extents = std::array<std::int64_t, Shape::kMaxRank>;

Shape shape_of(const Extents& extents, int rank) {
    return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank)));
}

}  // namespace

Box Box::whole(const Shape& shape) {
    return {shape_of({}, shape.rank()), shape};
}

Box Box::of(const Layout& layout, const Shape& global) {
    Extents start{};
    const Shape local = layout.local(global);  // checks the axis
    if (layout.is_split()) start[static_cast<std::size_t>(layout.axis)] = layout.begin(global);
    return {shape_of(start, global.rank()), local};
}

std::int64_t Box::row_elements() const {
    std::int64_t out = 1;
    for (int axis = 1; axis < count.rank(); ++axis) out *= count[axis];
    return out;
}

Box Box::along(int axis, std::int64_t begin, std::int64_t end) const {
    Extents from{}, many{};
    for (int i = 0; i < count.rank(); ++i) {
        from[static_cast<std::size_t>(i)] = start[i] + (i == axis ? begin : 0);
        many[static_cast<std::size_t>(i)] = i == axis ? end - begin : count[i];
    }
    return {shape_of(from, count.rank()), shape_of(many, count.rank())};
}

namespace {

// Splits [begin, end) of a box whose axes before `axis` are of extent 1 already.
void append_run(const Box& box, int axis, std::int64_t begin, std::int64_t end, std::vector<Box>& out) {
    if (begin >= end) return;
    if (begin == 0 && end == box.elements()) {
        out.push_back(box);
        return;
    }
    const std::int64_t inner = box.elements() / box.count[axis];
    const auto part = [&](std::int64_t from, std::int64_t to) { return box.along(axis, from, to); };
    const std::int64_t first = begin / inner, last = end / inner;  // the indices that it begins and ends in
    if (first == last) return append_run(part(first, first + 1), axis + 1, begin % inner, end % inner, out);
    std::int64_t from = first;
    if (begin % inner != 0) append_run(part(from++, first + 1), axis + 1, begin % inner, inner, out);
    if (from < last) out.push_back(part(from, last));
    if (end % inner != 0) append_run(part(last, last + 1), axis + 1, 0, end % inner, out);
}

}  // namespace

std::vector<Box> boxes_of_run(const Box& box, std::int64_t begin, std::int64_t end) {
    std::vector<Box> out;
    append_run(box, 0, begin, end, out);
    return out;
}

std::optional<Box> intersection(const Box& a, const Box& b) {
    Extents start{}, count{};
    for (int axis = 0; axis < a.count.rank(); ++axis) {
        const auto i = static_cast<std::size_t>(axis);
        start[i] = std::max(a.start[axis], b.start[axis]);
        count[i] = std::min(a.start[axis] + a.count[axis], b.start[axis] + b.count[axis]) - start[i];
        if (count[i] <= 0) return std::nullopt;
    }
    return Box{shape_of(start, a.count.rank()), shape_of(count, a.count.rank())};
}

bool contains(const Box& outer, const Box& inner) {
    if (outer.count.rank() != inner.count.rank()) return false;
    for (int axis = 0; axis < outer.count.rank(); ++axis)
        if (inner.start[axis] < outer.start[axis] ||
            inner.start[axis] - outer.start[axis] > outer.count[axis] - inner.count[axis])
            return false;
    return true;
}

void copy_box(const Box& part, std::size_t element, const Box& source_box, const std::byte* source,
              const Box& target_box, std::byte* target) {
    const int rank = part.count.rank();
    // The innermost axes that are whole in both boxes make one contiguous run together with the axis outside
    // them.
    int inner = rank;
    std::int64_t run = 1;
    while (inner > 0) {
        --inner;
        run *= part.count[inner];
        if (part.count[inner] != source_box.count[inner] || part.count[inner] != target_box.count[inner])
            break;
    }
    std::int64_t runs = 1;
    for (int axis = 0; axis < inner; ++axis) runs *= part.count[axis];

    const auto place = [&](const Box& box, const Extents& index) {
        std::int64_t flat = 0;
        for (int axis = 0; axis < rank; ++axis)
            flat = flat * box.count[axis] + part.start[axis] - box.start[axis] +
                   index[static_cast<std::size_t>(axis)];
        return static_cast<std::size_t>(flat) * element;
    };
    Extents index{};
    for (std::int64_t i = 0; i < runs; ++i) {
        std::memcpy(target + place(target_box, index), source + place(source_box, index),
                    static_cast<std::size_t>(run) * element);
        for (int axis = inner - 1; axis >= 0; --axis) {
            if (++index[static_cast<std::size_t>(axis)] < part.count[axis]) break;
            index[static_cast<std::size_t>(axis)] = 0;
        }
    }
}

}  // namespace skein
