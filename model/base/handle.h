#pragma once

#include <utility>

namespace skein {

/// Owns one foreign resource (a file, a communicator, an HDF5 identifier) and releases it once. Move-only.
/// `Traits` has `using Value`, `static Value none() noexcept` and `static void release(Value) noexcept`.
template <class Traits>
class Handle {
  public:
    using Value = typename Traits::Value;

    Handle() noexcept = default;
    explicit Handle(Value value) noexcept : value_(value) {}
    Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, Traits::none())) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset();
            value_ = std::exchange(other.value_, Traits::none());
        }
        return *this;
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { reset(); }

    Value get() const noexcept { return value_; }
    explicit operator bool() const noexcept { return value_ != Traits::none(); }
    Value release() noexcept { return std::exchange(value_, Traits::none()); }
    void reset() noexcept {
        if (value_ != Traits::none()) {
            Traits::release(value_);
            value_ = Traits::none();
        }
    }

  private:
    Value value_ = Traits::none();
};

}  // namespace skein
