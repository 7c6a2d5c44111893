#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>

namespace skein {

/// The extents of a tensor, outermost first; up to six. Rank 0 is a scalar of one element.
class Shape {
  public:
    static constexpr int kMaxRank = 6;

    Shape() = default;
    /// Throws ShapeError for a negative extent or more than kMaxRank of them.
    Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
    explicit Shape(std::span<const std::int64_t> extents);

    int rank() const { return rank_; }
    /// Extent of an axis; negative axes count from the end. Throws ShapeError outside [-rank, rank).
    std::int64_t operator[](int axis) const;
    std::int64_t elements() const;
    std::span<const std::int64_t> extents() const {
        return {extents_.data(), static_cast<std::size_t>(rank_)};
    }

    friend bool operator==(const Shape& a, const Shape& b) = default;

  private:
    std::array<std::int64_t, kMaxRank> extents_{};
    int rank_ = 0;
};

/// Prints as [2, 3].
std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace skein
